//! tidegate stands between a hospital and everyone outside the ward who has a good reason to
//! hear from it.

pub mod clock;
pub mod phi;
pub mod secret;
pub mod document;
pub mod event;
pub mod parse;
pub mod normalize;
