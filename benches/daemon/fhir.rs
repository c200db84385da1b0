//! Resources a second from page to journal: a FHIR feed that catches up with a server that has every page
//! at hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::figures::{Series, Table, Target};
use super::intake;
use super::process;
use super::support::daemon::Setup;
use super::support::fhir::{observation, patient};

const ROUNDS: usize = 3;
const PAGE: usize = 500;
const PAGES: usize = 30;
/// Patients of one page: as many as a laboratory has results of in some minutes.
const PATIENTS: usize = 100;
/// Left out before a sample: the first connection, the first transaction.
const WARM_UP: usize = 2 * PAGE;

/// Between two looks at how many are taken.
const LOOK: Duration = Duration::from_millis(20);

pub fn measure(table: &mut Table) {
    let (mut rate, mut cpu, mut memory) = (Series::default(), Series::default(), Series::default());
    for _ in 0..ROUNDS {
        let address = serve();
        let setup = Setup::new().section(&format!(
            "[[feed]]\nname = \"ehr\"\nkind = \"fhir\"\nbase_url = \"http://{address}/fhir\"\n\
             version = \"R4\"\nresources = [\"Observation\"]\nsince = \"all\"\npage_size = {PAGE}"
        ));
        let daemon = intake::start(&setup);
        let pid = daemon.child.id();
        let taken =
            || daemon.metric("tidegate_fhir_resources_total{server=\"ehr\",result=\"taken\"}");
        let wait = |count: usize| {
            while taken() < count as f64 {
                std::thread::sleep(LOOK);
            }
        };
        wait(WARM_UP);
        let (begun, before, used) = (Instant::now(), taken(), process::cpu(pid));
        wait(PAGE * PAGES);
        let (elapsed, used) = (begun.elapsed(), process::cpu(pid) - used);
        let count = taken() - before;
        rate.push(count / elapsed.as_secs_f64());
        cpu.push(used.as_secs_f64() * 1e6 / count);
        memory.push(process::memory(pid).1);
    }
    let target = Target::Least(3_000.0);
    table.figure("FHIR, page to journal, pages of 500", "1/s", &rate, target);
    table.figure("  processor time a resource", "µs", &cpu, Target::None);
    table.figure("  memory, peak", "MiB", &memory, Target::Most(300.0));
}

/// A server whose pages are written beforehand, so that it costs little beside what is measured.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pages: Arc<Vec<Vec<u8>>> = Arc::new((0..PAGES).map(|it| page(it, address)).collect());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let pages = Arc::clone(&pages);
            std::thread::spawn(move || connection(stream, &pages));
        }
    });
    address
}

fn connection(mut stream: TcpStream, pages: &[Vec<u8>]) {
    stream.set_nodelay(true).unwrap();
    let mut head = Vec::new();
    let mut chunk = [0; 4 << 10];
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        head.extend(&chunk[..read]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
        let target = text.split(' ').nth(1).unwrap();
        let body = if target.contains("metadata") {
            capabilities()
        } else {
            let page = target.split("_page=").nth(1).map_or(0, |page| page.parse().unwrap());
            pages[page].clone()
        };
        let date = super::support::fhir::httpdate(Timestamp::now());
        let answer = format!(
            "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/fhir+json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(&[answer.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

fn capabilities() -> Vec<u8> {
    json!({ "resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [{ "mode": "server",
        "resource": [{ "type": "Observation", "searchInclude": ["Observation:subject"],
            "searchParam": [{ "name": "_lastUpdated" }] }] }] })
    .to_string()
    .into_bytes()
}

fn page(number: usize, address: SocketAddr) -> Vec<u8> {
    let begin: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
    let with_meta = |mut resource: serde_json::Value, second: usize| {
        let at = begin + SignedDuration::from_secs(i64::try_from(second).unwrap());
        resource["meta"] = json!({ "versionId": "1", "lastUpdated": at.to_string() });
        resource
    };
    let found = (0..PAGE).map(|place| {
        let place = number * PAGE + place;
        let of = observation(&format!("o{place}"), &format!("p{}", place % PATIENTS), "6.90");
        json!({ "resource": with_meta(of, place), "search": { "mode": "match" } })
    });
    let beside = (0..PATIENTS).map(|place| {
        let of = patient(&format!("p{place}"));
        json!({ "resource": with_meta(of, 0), "search": { "mode": "include" } })
    });
    let entries: Vec<_> = found.chain(beside).collect();
    let next = format!("http://{address}/fhir/Observation?_page={}", number + 1);
    let links =
        if number + 1 < PAGES { json!([{ "relation": "next", "url": next }]) } else { json!([]) };
    json!({ "resourceType": "Bundle", "type": "searchset", "link": links, "entry": entries })
        .to_string()
        .into_bytes()
}
