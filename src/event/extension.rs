//! Fields of sites' own: what their files add to the declaration, below `extension`.
//!
//! Promises: a field of a site's own has a class, as every other field has; what no site declares is
//! no field, and no contract can name it.
//! Knows nothing of: which site's messages have it, and where in them it stands.

use super::schema::{Class, DATA, EXTENSION, Field, Found, Part, Shape, find_in};
use super::tree::intern;

/// Most fields that all sites together may declare. A field is for good: consumers rely on it.
pub const EXTENSIONS_MAX: usize = 1_000;
/// Longest name of a field, in characters.
pub const NAME_CHARS_MAX: usize = 64;

/// What a field of a site's own may hold, by the words of its file. A code is text: its display is a
/// field of its own.
pub const HOLDS: [(&str, Shape); 4] = [
    ("text", Shape::Text),
    ("date", Shape::Date),
    ("number", Shape::Number),
    ("boolean", Shape::Bool),
];

/// The classes that one may have. By the type of each value there is none: only OBX-2 says one.
pub const CLASSES: [(&str, Class); 5] = [
    ("direct", Class::Direct),
    ("quasi", Class::Quasi),
    ("clinical", Class::Clinical),
    ("operational", Class::Operational),
    ("free-text", Class::FreeText),
];

/// A field of a site's own.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Its name below `extension`.
    pub name: String,
    /// What it holds; no part.
    pub shape: Shape,
    /// Whether it holds a list of that.
    pub many: bool,
    /// How identifying it is.
    pub class: Class,
    /// One sentence.
    pub doc: String,
}

impl Extension {
    /// Whether it means the same as another of its name: what contracts rely on.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        self.many == other.many
            && self.class == other.class
            && std::mem::discriminant(&self.shape) == std::mem::discriminant(&other.shape)
    }

    fn field(&self) -> Field {
        Field {
            name: intern(&self.name),
            shape: self.shape,
            many: self.many,
            class: self.class,
            // 45 CFR 164.514(b)(2)(i): dates are C, whatever else identifies is R.
            safe_harbor: match (self.shape, self.class) {
                (Shape::Date, _) => Some('C'),
                (_, Class::Direct) => Some('R'),
                _ => None,
            },
            doc: intern(&self.doc),
        }
    }
}

/// Whether a text is a name that a field may have, such as `arrivedBy`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() <= NAME_CHARS_MAX
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What an event's `data` may hold, with the fields of sites' own.
#[derive(Clone, Copy, Debug)]
pub struct Declaration(&'static Part);

/// Without any field of a site's own.
impl Default for Declaration {
    fn default() -> Self {
        Self(&DATA)
    }
}

impl Declaration {
    /// With these. They are kept for as long as the process runs, as what is compiled from them is;
    /// there are as many as the configuration declares.
    #[must_use]
    pub fn with(extensions: &[Extension]) -> Self {
        if extensions.is_empty() {
            return Self::default();
        }
        let fields: Vec<Field> = extensions.iter().map(Extension::field).collect();
        let part: &'static Part =
            Box::leak(Box::new(Part { fields: Vec::leak(fields), ..EXTENSION }));
        let with_part = |field: &Field| match field.shape {
            Shape::Part(known) if known.name == EXTENSION.name => {
                Field { shape: Shape::Part(part), ..*field }
            }
            _ => *field,
        };
        let all: Vec<Field> = DATA.fields.iter().map(with_part).collect();
        Self(Box::leak(Box::new(Part { fields: Vec::leak(all), ..DATA })))
    }

    /// All of it.
    #[must_use]
    pub const fn data(self) -> &'static Part {
        self.0
    }

    /// Looks a path up.
    ///
    /// # Errors
    /// What is wrong with the path, and the nearest one that would be right.
    pub fn find(self, path: &str) -> Result<Found, String> {
        find_in(self.0, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(class: Class) -> Extension {
        Extension {
            name: "arrivedBy".to_owned(),
            shape: Shape::Text,
            many: false,
            class,
            doc: "How the patient came.".to_owned(),
        }
    }

    #[test]
    fn a_field_of_a_sites_own_is_found_with_its_class_and_no_other_is() {
        let declared = Declaration::with(&[arrived(Class::Operational)]);
        let found = declared.find("extension.arrivedBy").unwrap();
        assert_eq!(found.field().map(|field| field.class), Some(Class::Operational));
        assert!(declared.find("patient.birthDate").is_ok());
        let wrong = declared.find("extension.arivedBy").unwrap_err();
        assert!(wrong.contains("no site declares"), "{wrong}");
        assert!(wrong.contains("did you mean `arrivedBy`?"), "{wrong}");
        let none = Declaration::default().find("extension.arrivedBy").unwrap_err();
        assert!(none.contains("no site declares `arrivedBy`"), "{none}");
    }

    #[test]
    fn what_identifies_has_its_letter() {
        let letter = |shape, class| Extension { shape, ..arrived(class) }.field().safe_harbor;
        assert_eq!(letter(Shape::Date, Class::Quasi), Some('C'));
        assert_eq!(letter(Shape::Text, Class::Direct), Some('R'));
        assert_eq!(letter(Shape::Text, Class::Clinical), None);
    }

    #[test]
    fn names_are_such_as_fields_have() {
        for (name, right) in [
            ("arrivedBy", true),
            ("a1", true),
            ("ArrivedBy", false),
            ("arrived-by", false),
            ("1a", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), right, "{name}");
        }
        assert!(!is_name(&"a".repeat(65)));
    }
}
