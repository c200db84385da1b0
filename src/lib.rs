//! tidegate stands between a hospital and everyone outside the ward who has a good reason to
//! hear from it. This is the map of its rooms.
//!
//! A message goes through them in this order, which is also the order to read them in:
//!
//! | room | does | file to begin with |
//! |---|---|---|
//! | [`feed`] | takes frames, answers after the commit | `feed/mllp/session.rs` |
//! | [`parse`] | bytes to a tree of spans; no meaning | `parse/hl7/message/mod.rs` |
//! | [`normalize`] | a tree to events, by mapping | `normalize/run.rs` |
//! | [`admit`] | new, duplicate or conflict | `admit/assess.rs` |
//! | [`store`] | makes it durable | `store/journal.rs` |
//! | [`verdict`] | what the sender hears | `verdict.rs` |
//! | [`contract`] | what a route wants | `contract/mod.rs` |
//! | [`consent`] | whether it may leave | `consent/mod.rs` |
//! | [`privacy`] | in which form | `privacy/release.rs` |
//! | [`audit`] | what is kept as evidence of it | `audit/record.rs` |
//! | [`fence`] | who is on the way out | `fence.rs` |
//! | [`deliver`] | hands it to the sink, moves the cursor | `deliver/route.rs` |
//!
//! The first six answer the sender, the other six serve a consumer; the two halves share the
//! journal and the fence. [`event`] is what passes between them. [`app`] is the only wiring.
//! `tests/tidy.rs` holds who may import whom.

// What everything stands on.
pub mod bug;
pub mod clock;
pub mod phi;
pub mod secret;
pub mod pace;
pub mod tls;
pub mod document;
pub mod metrics;
pub mod event;
// The path, in; out.
pub mod parse;
pub mod normalize;
pub mod admit;
pub mod verdict;
pub mod consent;
pub mod privacy;
pub mod contract;
pub mod audit;
pub mod store;
pub mod feed;
pub mod fence;
pub mod deliver;
// Around it.
pub mod admin;
pub mod config;
pub mod app;
pub mod cli;
