//! Places made coarser.
//!
//! Promises: what is not a ZIP code or a state of the United States gives nothing; a prefix in
//! which 20,000 people or fewer live is `000`.
//! Knows nothing of: other countries, whose postal codes say other things.

use crate::event::View;

/// Three-digit prefixes of ZIP codes in whose areas 20,000 people or fewer lived, by the ZIP code
/// tabulation areas of the decennial census of 2000 (17 of them, HHS guidance on 45 CFR
/// 164.514(b)(2)(i)(B) of 26 November 2012) or of 2010: a prefix of either is not shown, since areas
/// are drawn anew and a list that is too long tells nothing about anybody.
const SPARSE: [&str; 21] = [
    "036", "059", "063", "102", "203", "205", "369", "556", "692", "753", "772", "790", "821",
    "823", "830", "831", "878", "879", "884", "890", "893",
];

/// The first three digits.
pub(super) fn zip3(text: &str, address: View<'_>) -> Option<String> {
    if !is_american(address) {
        return None;
    }
    let digits = match text.trim().split_once('-') {
        Some((zip, more)) if more.len() == 4 && is_number(more) => zip,
        Some(_) => return None,
        // ZIP+4 without the hyphen.
        None if text.trim().len() == 9 => text.trim().get(..5)?,
        None => text.trim(),
    };
    if digits.len() != 5 || !is_number(digits) {
        return None;
    }
    let prefix = digits.get(..3)?;
    Some(if SPARSE.contains(&prefix) { "000" } else { prefix }.to_owned())
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The code of a state, a district or a territory.
pub(super) fn state(text: &str, address: View<'_>) -> Option<String> {
    if !is_american(address) {
        return None;
    }
    let text = text.trim();
    let found = STATES
        .iter()
        .find(|(code, name)| code.eq_ignore_ascii_case(text) || name.eq_ignore_ascii_case(text));
    found.map(|(code, _)| (*code).to_owned())
}

/// Whether an address is in the United States, as far as it says. HL7 table 0399 and ISO 3166 have
/// `USA` and `US`.
fn is_american(address: View<'_>) -> bool {
    let country = address.get("country").and_then(|country| country.as_text());
    country.is_none_or(|country| {
        ["US", "USA", "U.S.A.", "UNITED STATES", "UNITED STATES OF AMERICA"]
            .iter()
            .any(|name| name.eq_ignore_ascii_case(country.trim()))
    })
}

/// USPS Publication 28, appendix B: states, the district, territories.
const STATES: [(&str, &str); 56] = [
    ("AL", "Alabama"),
    ("AK", "Alaska"),
    ("AS", "American Samoa"),
    ("AZ", "Arizona"),
    ("AR", "Arkansas"),
    ("CA", "California"),
    ("CO", "Colorado"),
    ("CT", "Connecticut"),
    ("DE", "Delaware"),
    ("DC", "District of Columbia"),
    ("FL", "Florida"),
    ("GA", "Georgia"),
    ("GU", "Guam"),
    ("HI", "Hawaii"),
    ("ID", "Idaho"),
    ("IL", "Illinois"),
    ("IN", "Indiana"),
    ("IA", "Iowa"),
    ("KS", "Kansas"),
    ("KY", "Kentucky"),
    ("LA", "Louisiana"),
    ("ME", "Maine"),
    ("MD", "Maryland"),
    ("MA", "Massachusetts"),
    ("MI", "Michigan"),
    ("MN", "Minnesota"),
    ("MS", "Mississippi"),
    ("MO", "Missouri"),
    ("MP", "Northern Mariana Islands"),
    ("MT", "Montana"),
    ("NE", "Nebraska"),
    ("NV", "Nevada"),
    ("NH", "New Hampshire"),
    ("NJ", "New Jersey"),
    ("NM", "New Mexico"),
    ("NY", "New York"),
    ("NC", "North Carolina"),
    ("ND", "North Dakota"),
    ("OH", "Ohio"),
    ("OK", "Oklahoma"),
    ("OR", "Oregon"),
    ("PA", "Pennsylvania"),
    ("PR", "Puerto Rico"),
    ("RI", "Rhode Island"),
    ("SC", "South Carolina"),
    ("SD", "South Dakota"),
    ("TN", "Tennessee"),
    ("TX", "Texas"),
    ("UT", "Utah"),
    ("VT", "Vermont"),
    ("VA", "Virginia"),
    ("VI", "Virgin Islands"),
    ("WA", "Washington"),
    ("WV", "West Virginia"),
    ("WI", "Wisconsin"),
    ("WY", "Wyoming"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Tree;

    fn address(country: Option<&str>) -> Tree {
        let mut tree = Tree::new();
        if let Some(country) = country {
            tree.text("country", country);
        }
        tree
    }

    #[test]
    fn a_zip_code_leaves_by_three_digits_where_many_live() {
        for (text, country, wanted) in [
            ("94110", None, Some("941")),
            ("94110-1234", Some("USA"), Some("941")),
            ("941101234", Some("us"), Some("941")),
            (" 94110 ", Some("US"), Some("941")),
            ("03601", None, Some("000")),
            ("89301", None, Some("000")),
            ("00012", None, Some("000")),
            ("10115", Some("DE"), None),
            ("9411", None, None),
            ("94110-12", None, None),
            ("9411O", None, None),
            ("SW1A 1AA", None, None),
            ("", None, None),
            ("941ä", None, None),
        ] {
            let tree = address(country);
            assert_eq!(zip3(text, tree.root()).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn a_state_leaves_by_its_code_and_nothing_else_does() {
        for (text, country, wanted) in [
            ("CA", None, Some("CA")),
            ("california", Some("USA"), Some("CA")),
            (" dc ", None, Some("DC")),
            ("12 Marked Street", None, None),
            ("BY", Some("DEU"), None),
            ("CA", Some("DEU"), None),
            ("", None, None),
        ] {
            let tree = address(country);
            assert_eq!(state(text, tree.root()).as_deref(), wanted, "{text}");
        }
    }
}
