//! What FHIR servers hold (FHIR R4 and R5, 3.2 RESTful API).
//!
//! Promises: every answer is bounded, in bytes and in time; what proves who we are goes to the server
//! that it is for, and nowhere else; a query's cursor moves when every resource before it is committed,
//! and not before (PROMISE-1); what a server does wrong costs one query (PROMISE-11).
//! Knows nothing of: what a resource means.
//!
//! Reading order: [`base`] (which addresses are the server's), [`fault`] (what can go wrong),
//! [`client`] (one request), [`wire`], [`body`] and [`stated`] (how it is made, and its answer read),
//! [`auth`] (by which proof); [`query`] (what is asked), [`capability`] (what the server offers), [`cursor`]
//! (how far a query has come), [`round`] and [`page`] (what is found), [`trouble`] (what becomes of a
//! query that fails), [`turns`] (which is next), [`asking`] (one query), [`tries`] and [`patients`] (whom
//! resources are about), [`consents`] (what these decided, where nobody knows it yet), [`take`] (to the
//! journal), [`recheck`] (what was taken and may be gone), [`subscription`] (what the server tells by
//! itself), [`poller`] (all of them).

pub mod base;
pub mod fault;
pub mod stated;
pub mod body;
pub mod wire;
pub mod auth;
pub mod client;

pub mod query;
pub mod capability;
pub mod cursor;
pub mod round;
pub mod page;
pub mod trouble;
pub mod turns;
pub mod asking;
pub mod tries;
pub mod patients;
pub mod consents;
pub mod take;
pub mod recheck;
pub mod subscription;
pub mod poller;

pub use base::Base;
pub use client::{Client, Fetched, Known, Settings};
pub use fault::FetchFault;
pub use stated::Form;
