//! HL7 v2 over TCP by the minimal lower layer protocol: `VT message FS CR`.
//!
//! Promises: answers go out in the order of the messages on each connection; every buffer and
//! wait has a bound, and all connections together have one.
//! Knows nothing of: what a message says; that is `admit::assess`.
//!
//! Reading order: [`frame`] (bytes to frames), [`acknowledge`] (the answer), [`form`] (in
//! XML or UTF-16 where the message was), [`session`] (one
//! connection), [`listener`] (all of them).

pub mod frame;
pub mod acknowledge;
pub mod form;

pub mod quiet;
pub mod budget;
pub mod session;
pub mod listener;

pub use listener::Listener;
pub use session::FeedContext;
