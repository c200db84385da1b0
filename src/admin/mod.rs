//! HTTP: health, metrics, and what people look up.
//!
//! Promises: health, metrics and public keys hold no patient data and need no token; everything else needs
//! one, or `dev` on loopback; a page of another site cannot ask in somebody's name.
//! Knows nothing of: feeds and routes, but for their state.

pub mod api;
mod audit;
pub mod state;
pub mod auth;
pub mod decisions;
pub mod import;
pub mod keys;
mod resolve;
pub mod server;
pub mod tokens;
mod whom;

pub use decisions::Decide;
pub use server::{AdminState, serve};
