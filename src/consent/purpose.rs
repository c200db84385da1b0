//! Purposes of use, and which of them are kinds of others.
//!
//! Promises: what is refused for research is refused for a clinical trial; what is permitted for
//! research is not permitted for a trial by that.
//! Knows nothing of: contracts and records.

/// Codes of HL7 v3 PurposeOfUse, as far as they are purposes of a disclosure.
pub const PURPOSES: [&str; 32] = [
    "TREAT",
    "ETREAT",
    "ERTREAT",
    "CAREMGT",
    "CLINTRL",
    "COC",
    "POPHLTH",
    "HPAYMT",
    "CLMATTCH",
    "COVAUTH",
    "ELIGVER",
    "HOPERAT",
    "HACCRED",
    "HCOMPL",
    "HOUTCOMS",
    "HQUALIMP",
    "HSYSADMIN",
    "PATADMIN",
    "PATSFTY",
    "PERFMSR",
    "RECORDMGT",
    "TRAIN",
    "HMARKT",
    "HRESCH",
    "BIORCH",
    "CLINTRCH",
    "DSRCH",
    "TRANSRCH",
    "PATRQT",
    "FAMRQT",
    "PUBHLTH",
    "THREAT",
];

/// Whether a no to `refused` is a no to `purpose`, too: the same, or one that the code system
/// (HL7 v3 ActReason) puts above it. Treatment in an emergency is refused by its own name alone,
/// though the code system puts it under TREAT: who says no to a referral does not say that.
#[must_use]
pub fn covers(refused: &str, purpose: &str) -> bool {
    refused == purpose || above(purpose) == Some(refused)
}

/// The purpose that this one is a kind of.
fn above(purpose: &str) -> Option<&'static str> {
    match purpose {
        "CAREMGT" | "CLINTRL" | "COC" | "POPHLTH" => Some("TREAT"),
        "ERTREAT" => Some("ETREAT"),
        "CLMATTCH" | "COVAUTH" | "ELIGVER" => Some("HPAYMT"),
        "HACCRED" | "HCOMPL" | "HOUTCOMS" | "HQUALIMP" | "HSYSADMIN" | "PATADMIN" | "PATSFTY"
        | "PERFMSR" | "RECORDMGT" | "TRAIN" => Some("HOPERAT"),
        "BIORCH" | "CLINTRCH" | "DSRCH" | "TRANSRCH" => Some("HRESCH"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_no_covers_what_is_below_it_and_nothing_beside_it() {
        assert!(covers("HRESCH", "CLINTRCH") && covers("CLINTRCH", "CLINTRCH"));
        assert!(!covers("CLINTRCH", "HRESCH") && !covers("CLINTRCH", "BIORCH"));
        assert!(!covers("TREAT", "ETREAT"));
        let known = |purpose: &str| PURPOSES.contains(&purpose);
        assert!(PURPOSES.iter().filter_map(|purpose| above(purpose)).all(known));
    }
}
