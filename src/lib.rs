//! tidegate stands between a hospital and everyone outside the ward who has a good reason to
//! hear from it.

pub mod bug;
pub mod clock;
pub mod phi;
pub mod secret;
pub mod document;
pub mod event;
pub mod parse;
pub mod normalize;
pub mod admit;
pub mod verdict;
pub mod consent;
pub mod privacy;
pub mod contract;
pub mod metrics;
pub mod store;
pub mod feed;
pub mod fence;
pub mod deliver;
pub mod admin;
pub mod config;
pub mod app;
pub mod cli;
