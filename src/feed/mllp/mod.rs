//! HL7 v2 over TCP by the minimal lower layer protocol: `VT message FS CR`.
//!
//! Promises: answers go out in the order of the messages on each connection; every buffer and
//! wait has a bound, and all connections together have one.
//! Knows nothing of: what a message says; that is `admit::assess`.
//!
//! Reading order: [`frame`] (bytes to frames), [`acknowledge`] (the answer), [`wire`] (TCP, or
//! TLS over it), [`session`] (one connection), [`allow`] and [`handshake`] (who may connect), [`listener`] (all of them).

pub mod frame;
pub mod acknowledge;

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
pub use session::FeedContext;
