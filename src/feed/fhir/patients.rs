//! The Patients that a feed's resources are about, as far as it remembers them.
//!
//! Promises: what is remembered has a bound and an age, and survives a restart; a Patient that is asked
//! for again is asked for once a page; who cannot be found is told apart from a server that does not
//! answer; one who is never shown holds a page for a bounded number of tries.
//! Knows nothing of: what a Patient says.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::client::{Client, Known};
use super::fault::{ContentType, FetchFault};
use super::page::in_json;
use super::poller::Polling;
use super::tries::Tries;
use crate::admit::entry::Kept;
use crate::clock;
use crate::feed::intake::FeedContext;
use crate::parse::fhir::Version;
use crate::phi::Phi;
use crate::store::StoreError;

/// Most Patients that are in memory: those of a few pages, in 64 MiB at the very most.
const NEAR_MAX: usize = 1_024;
/// Longest Patient that is remembered, in bytes. Of longer ones, as with a photograph, the last is at hand.
const PATIENT_BYTES_MAX: usize = 64 << 10;
/// The kind under which they are kept.
const KIND: &str = "patient";

/// A Patient resource in JSON.
pub type Patient = Phi<Bytes>;

/// Why nobody knows who a Patient is, for now.
#[derive(Debug, thiserror::Error)]
pub enum PatientFault {
    /// The server does not say it now.
    #[error(transparent)]
    Fetch(#[from] FetchFault),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The Patients of one server.
#[derive(Debug)]
pub struct Patients {
    context: Arc<FeedContext>,
    client: Arc<Client>,
    /// Most that are kept.
    most: u32,
    /// How many bytes one may have, and by which release it is read.
    bounds: (usize, Version),
    /// How old one may be.
    age_max: Duration,
    near: HashMap<String, Remembered>,
    /// The last one that is too long to be remembered.
    long: Option<(String, Patient)>,
    /// Those that were asked for on this page, whatever their age: as the server shows them, else as they
    /// are remembered, or nothing.
    told: HashMap<String, Option<Patient>>,
    tries: Tries,
    /// What is to be kept of those that are new.
    fresh: Vec<Kept>,
}

#[derive(Clone, Debug)]
struct Remembered {
    /// When it came, in milliseconds since 1970.
    at: i64,
    patient: Patient,
}

impl Patients {
    /// Of a feed.
    #[must_use]
    pub fn new(context: Arc<FeedContext>, client: Arc<Client>, polling: &Polling) -> Self {
        Self {
            context,
            client,
            most: polling.patients_max,
            bounds: polling.bounds(),
            age_max: polling.patient_age_max,
            near: HashMap::new(),
            long: None,
            told: HashMap::new(),
            tries: Tries::default(),
            fresh: Vec::new(),
        }
    }

    /// A new page, or the same one again: who was missing may be there now.
    pub fn turn_page(&mut self) {
        self.long = None;
        self.told.clear();
        self.fresh.clear();
    }

    /// What is to be kept of those that were fetched or came along since the page was turned.
    pub fn fresh(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.fresh)
    }

    /// Takes one that came along.
    pub fn came(&mut self, id: &str, patient: &Patient) {
        let kept = self.remember(id, patient);
        self.fresh.extend(kept);
    }

    /// A Patient by ID: from memory, from the store, from the server; nothing where the server has none.
    ///
    /// # Errors
    /// The server or the store cannot say so now.
    pub async fn find(&mut self, id: &str) -> Result<Option<Patient>, PatientFault> {
        if let Some(told) = self.told.get(id) {
            return Ok(told.clone());
        }
        if let Some((_, long)) = self.long.as_ref().filter(|(known, _)| known == id) {
            return Ok(Some(long.clone()));
        }
        let remembered = match self.near.get(id) {
            Some(near) => Some(near.clone()),
            None => self.kept(id)?,
        };
        let oldest = clock::now_ms().saturating_sub(millis(self.age_max));
        if let Some(remembered) = &remembered
            && remembered.at >= oldest
        {
            self.near(id, remembered.clone());
            return Ok(Some(remembered.patient.clone()));
        }
        match self.fetch(id).await {
            Ok(patient) => {
                self.came(id, &patient);
                if patient.expose().len() <= PATIENT_BYTES_MAX {
                    self.told.insert(id.to_owned(), Some(patient.clone()));
                }
                Ok(Some(patient))
            }
            Err(fault) if self.tries.may_pass(id, &fault) => Err(fault.into()),
            // What it does not show, or not to us, is as it was.
            Err(_) => {
                let told = remembered.map(|remembered| remembered.patient);
                self.told.insert(id.to_owned(), told.clone());
                Ok(told)
            }
        }
    }

    /// Takes one, and gives what is to be kept of it.
    pub fn remember(&mut self, id: &str, patient: &Patient) -> Option<Kept> {
        let at = clock::now_ms();
        self.told.remove(id);
        self.tries.past(id);
        let is_known = self.near.get(id).is_some_and(|near| {
            near.patient.expose() == patient.expose() && at - near.at < millis(self.age_max) / 2
        });
        if is_known {
            return None;
        }
        let bytes = patient.expose();
        if bytes.len() > PATIENT_BYTES_MAX {
            self.near.remove(id);
            self.long = Some((id.to_owned(), patient.clone()));
            return None;
        }
        // A copy: a piece of a page would keep all of it in memory.
        let patient = Phi::new(Bytes::copy_from_slice(bytes));
        self.near(id, Remembered { at, patient });
        let mut value = at.to_be_bytes().to_vec();
        value.extend_from_slice(bytes);
        let (key, value) = (id.to_owned(), Some(Phi::new(value)));
        Some(Kept { kind: KIND, key, value, most: self.most })
    }

    fn near(&mut self, id: &str, remembered: Remembered) {
        if self.near.len() >= NEAR_MAX && !self.near.contains_key(id) {
            // Those of the pages at hand come back from the store.
            self.near.clear();
        }
        self.near.insert(id.to_owned(), remembered);
    }

    fn kept(&self, id: &str) -> Result<Option<Remembered>, StoreError> {
        let found = self.context.kept(KIND, id)?;
        Ok(found.and_then(|found| {
            let (at, patient) = found.expose().split_first_chunk()?;
            let patient = Phi::new(Bytes::copy_from_slice(patient));
            Some(Remembered { at: i64::from_be_bytes(*at), patient })
        }))
    }

    async fn fetch(&self, id: &str) -> Result<Patient, FetchFault> {
        let url = self.client.base().below(&format!("Patient/{id}"));
        let url = url.map_err(|_| FetchFault::OtherOrigin)?;
        let fetched = self.client.fetch(&url, &Known::default()).await?;
        let body = in_json(&fetched.body.into_exposed(), fetched.form, self.bounds);
        // What is no FHIR is no Patient either.
        body.map(Phi::new).map_err(|_| FetchFault::WrongContentType(ContentType::Other))
    }
}

/// A span of time as the store's times have it.
pub(super) fn millis(age: Duration) -> i64 {
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}
