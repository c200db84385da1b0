//! HL7 v2 over TCP by the minimal lower layer protocol: `VT message FS CR`.
//!
//! Promises: answers go out in the order of the messages on each connection; every buffer and
//! wait has a bound, and all connections together have one.
//! Knows nothing of: what a message says; that is `admit::assess`.
//!
//! Reading order: [`frame`] (bytes to frames), [`mode`] (which answers), [`sequence`] (MSH-13),
//! [`acknowledge`] (an answer), [`form`] (in XML or UTF-16 where the message was), [`batch`] (to a batch),
//! [`outbox`] (for another address), [`wire`] (TCP, or TLS over it), [`session`] (one connection),
//! [`allow`] and [`handshake`] (who may connect), [`listener`] (all of them).

pub mod frame;
pub mod mode;
pub mod sequence;
pub mod acknowledge;
pub mod form;
pub mod batch;
pub mod outbox;

pub mod quiet;
pub mod budget;
pub mod allow;
pub mod wire;
pub mod handshake;
pub mod session;
pub mod listener;
pub mod dialer;

pub use dialer::Dialer;
pub use listener::Listener;
