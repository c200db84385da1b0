//! The table of docs/deidentification.md: of every field of the event what each tier lets out, as the
//! declaration and the tiers say it.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::document::{Place, Placed, Problems};
use tidegate::event::Declaration;
use tidegate::event::extension::{CLASSES, Extension, HOLDS};
use tidegate::event::schema::{Class, DATA, EXTENSION, Field, Part, Shape, find};
use tidegate::privacy::recipe::{SUBJECT, Wanted};
use tidegate::privacy::transform::{Bands, Coding};
use tidegate::privacy::{Recipe, Tier, Transform};

const PAGE: &str = "docs/deidentification.md";
/// Where the part of the page begins that is written here.
const MARK: &str = "<!-- From here on tests/library/deidentification.rs writes this page. -->\n";

/// One of each transform, but `drop` and `constant`, which every tier allows of every field.
fn transforms() -> [Transform; 16] {
    [
        Transform::Keep,
        Transform::Token,
        Transform::Hash,
        Transform::Mask { last: 4 },
        Transform::Year,
        Transform::Month,
        Transform::Week,
        Transform::Shift { days: 30 },
        Transform::Age,
        Transform::AgeBand { width: 5 },
        Transform::Zip3,
        Transform::State,
        Transform::CodeFamily { length: 3 },
        Transform::Table(Coding::new("t", BTreeMap::from([("a".to_owned(), "b".to_owned())]))),
        Transform::Round { to: 1.0 },
        Transform::Band(Bands::Width(1.0)),
    ]
}

/// Whether a contract with this line alone loads.
fn loads(tier: Tier, path: &str, transform: &Transform) -> bool {
    let problems = Problems::default();
    let place = Place { file: "t".into(), line: 1, column: 1 };
    let wanted = Wanted {
        path: Placed { value: path.to_owned(), place },
        transform: transform.clone(),
        leaves_as: None,
        required: false,
    };
    let recipe = Recipe::compile(Declaration::default(), tier, &[wanted], &problems);
    recipe.tier == tier && problems.is_clean()
}

/// What each tier lets out by a test of tier and transform, as the page writes it.
fn cells(lets_out: impl Fn(Tier, &Transform) -> bool) -> String {
    let all = transforms();
    let of = |(_, tier): (&str, Tier)| {
        let allowed = all.iter().filter(|transform| lets_out(tier, transform));
        let words: Vec<&str> = allowed.map(Transform::name).collect();
        if words.is_empty() { "–".to_owned() } else { words.join(" ") }
    };
    Tier::NAMES.map(of).join(" | ")
}

/// A field without fields of its own: its path, its letter.
struct Leaf(String, &'static Field, Option<char>);

impl Leaf {
    fn lets_out(&self, tier: Tier, transform: &Transform) -> bool {
        transform.misfit(&self.0, self.1).is_none() && tier.allows(self.1.class, transform)
    }
}

/// Every leaf of a part. The letter of what a number is of (account, visit) is nearer than that of numbers.
fn leaves(part: &'static Part, path: &str, above: Option<char>, all: &mut Vec<Leaf>) {
    for field in part.fields {
        let Field { shape, class, safe_harbor, .. } = *field;
        let path = format!("{path}.{}", field.label());
        match shape {
            Shape::Part(inner) => leaves(inner, &path, safe_harbor.or(above), all),
            Shape::Text | Shape::Date | Shape::Number | Shape::Bool => {
                let letter = above.filter(|_| class == Class::Direct).or(safe_harbor);
                all.push(Leaf(path, field, letter));
            }
        }
    }
}

/// A table of leaves; those of which the same holds stand in one row.
fn table(leaves: &[Leaf], top: &str) -> String {
    let mut rows: Vec<(String, Vec<&str>)> = Vec::new();
    for leaf in leaves {
        let Leaf(path, field, letter) = leaf;
        let letter = letter.map(String::from).unwrap_or_default();
        let cells = cells(|tier, transform| leaf.lets_out(tier, transform));
        let row = format!("| {} | {letter} | {cells} |", field.class.name());
        match rows.iter_mut().find(|(known, _)| *known == row) {
            Some((_, paths)) => paths.push(path),
            None => rows.push((row, vec![path])),
        }
    }
    let mut text = format!(
        "\n### {top}\n\n| field | class | | {} |\n|---|---|---|---|---|---|---|\n",
        Tier::NAMES.map(|(name, _)| name).join(" | ")
    );
    for (row, paths) in rows {
        let paths: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
        text += &format!("| {} {row}\n", paths.join(" "));
    }
    text
}

fn generated() -> String {
    let mut text = "\n## Every field, tier by tier\n".to_owned();
    text += &format!(
        "\n### subject\n\n| | {} |\n|---|---|---|---|---|\n| `{SUBJECT}` | {} |\n",
        Tier::NAMES.map(|(name, _)| name).join(" | "),
        cells(|tier, transform| loads(tier, SUBJECT, transform))
    );
    for field in DATA.fields {
        let Shape::Part(part) = field.shape else { panic!("{} is no part", field.name) };
        if part.name == EXTENSION.name {
            text += &of_sites();
            continue;
        }
        let mut all = Vec::new();
        leaves(part, &field.label(), field.safe_harbor, &mut all);
        text += &table(&all, field.name);
    }
    text
}

/// What the tiers let out of a field of a site's own: by what it holds, and by the class that the site
/// gave it.
fn of_sites() -> String {
    let of = |(holds, shape): (&str, Shape), class| Extension {
        name: holds.to_owned(),
        shape,
        many: false,
        class,
        doc: String::new(),
    };
    let all: Vec<Extension> =
        CLASSES.iter().flat_map(|(_, class)| HOLDS.map(|holds| of(holds, *class))).collect();
    let can_be = |one: &Extension| {
        !matches!(one.shape, Shape::Date) || matches!(one.class, Class::Direct | Class::Quasi)
    };
    let all: Vec<Extension> = all.into_iter().filter(can_be).collect();
    let declared = Declaration::with(&all).data().field(EXTENSION.name).unwrap();
    let Shape::Part(part) = declared.shape else { panic!("extension is no part") };
    let mut found = Vec::new();
    leaves(part, &declared.label(), None, &mut found);
    table(&found, declared.name)
}

/// The committed table is what tiers and fields say.
#[test]
fn the_table_of_fields_and_tiers_is_the_one_that_holds() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (written, found) = page.split_once(MARK).expect(PAGE);
    let text = generated();
    if std::env::var_os(crate::WRITE).is_some() {
        std::fs::write(PAGE, format!("{written}{MARK}{text}")).unwrap();
        return;
    }
    assert!(
        found == text,
        "{PAGE} is not what the tiers say; write it anew: \
         TIDEGATE_WRITE_GENERATED=1 cargo nextest run --test library the_table_of_fields"
    );
}

/// Every leaf is in the table, and what Safe Harbor names leaves no deidentified route as it is.
/// PROMISE-7
#[test]
fn nothing_that_safe_harbor_names_is_kept_at_tier_deidentified() {
    let mut all = Vec::new();
    for field in DATA.fields {
        let Shape::Part(part) = field.shape else { continue };
        leaves(part, &field.label(), field.safe_harbor, &mut all);
    }
    let paths: BTreeSet<&str> = all.iter().map(|leaf| leaf.0.as_str()).collect();
    assert!(paths.len() == all.len() && paths.len() > 200, "{}", paths.len());
    let text = generated();
    for leaf in &all {
        let Leaf(path, field, letter) = leaf;
        assert!(find(path).is_ok(), "{path}");
        assert!(text.contains(&format!("`{path}`")), "{path}");
        let is_kept = leaf.lets_out(Tier::Deidentified, &Transform::Keep);
        let is_named = letter.is_some() || matches!(field.class, Class::Direct | Class::FreeText);
        assert!(!is_named || !is_kept, "{path}");
        // As a contract would be told.
        assert_eq!(loads(Tier::Deidentified, path, &Transform::Keep), is_kept, "{path}");
    }
}

/// Every transform is explained, by its word.
#[test]
fn every_transform_has_its_section() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    for name in Transform::NAMES {
        assert!(page.contains(&format!("\n### `{name}`\n")), "{PAGE} does not explain {name}");
    }
}
