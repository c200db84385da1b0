//! Every mapping file under `mappings/`: it loads, and each of its cases comes out as written.

use std::path::Path;

use tidegate::document::Problems;
use tidegate::normalize;

#[test]
fn every_shipped_mapping_loads_and_each_of_its_cases_holds() {
    let problems = Problems::default();
    let mappings = normalize::load(Path::new("mappings"), &problems);
    let mistakes: Vec<String> = problems.mistakes().iter().map(ToString::to_string).collect();
    assert_eq!(mistakes, Vec::<String>::new());
    let mut failed = Vec::new();
    let mut cases_run = 0;
    for (_, mapping, cases) in mappings.files() {
        for case in cases {
            cases_run += 1;
            for line in case.run(mapping) {
                failed.push(format!("{} {}: {line}", case.place, case.name));
            }
        }
    }
    assert!(cases_run >= mappings.files().count(), "a mapping without a case");
    assert_eq!(failed, Vec::<String>::new(), "{}", failed.join("\n"));
}
