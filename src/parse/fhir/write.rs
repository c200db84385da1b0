//! The tree to bytes.
//!
//! Promises: what is written reads as the same tree; the same tree gives the same bytes; a number is
//! written as it came.
//! Knows nothing of: what is done with the bytes.

use super::node::{Node, Resource, Value};

impl Resource<'_> {
    /// The resource as compact JSON, members in the order in which they came.
    #[must_use]
    pub fn compact(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.root().write_compact(&mut out);
        out
    }

    /// Hands over, in pieces, what the resource says: compact JSON with the members of each object
    /// by name, without its `meta`, which a server changes by itself. Two resources with the same
    /// pieces say the same.
    pub fn digest_parts(&self, mut take: impl FnMut(&[u8])) {
        sorted(self.root(), &mut Vec::new(), &mut take);
    }
}

impl Node<'_> {
    /// Appends it as compact JSON, members in the order in which they came.
    pub fn write_compact(self, out: &mut Vec<u8>) {
        let Some(value) = self.value() else { return };
        let (open, close) = match value {
            Value::List => (b'[', b']'),
            Value::Object => (b'{', b'}'),
            scalar => return write_scalar(scalar, out),
        };
        out.push(open);
        for (number, child) in self.children().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            child.write_member(out);
        }
        out.push(close);
    }

    /// The same, behind its name where it has one.
    pub fn write_member(self, out: &mut Vec<u8>) {
        if let Some(name) = self.name() {
            write_text(name, out);
            out.push(b':');
        }
        self.write_compact(out);
    }
}

/// As deep as the tree is at most.
fn sorted(node: Node<'_>, buffer: &mut Vec<u8>, take: &mut impl FnMut(&[u8])) {
    let Some(value) = node.value() else { return };
    let mut children: Vec<Node<'_>> = node.children().collect();
    let (open, close): (&[u8], &[u8]) = match value {
        Value::List => (b"[", b"]"),
        Value::Object => {
            children.sort_by_key(|child| child.name());
            (b"{", b"}")
        }
        scalar => {
            buffer.clear();
            write_scalar(scalar, buffer);
            return take(buffer);
        }
    };
    let is_root = node.around().is_none();
    children.retain(|child| !(is_root && child.name() == Some("meta")));
    take(open);
    for (number, child) in children.into_iter().enumerate() {
        buffer.clear();
        if number > 0 {
            buffer.push(b',');
        }
        if let Some(name) = child.name() {
            write_text(name, buffer);
            buffer.push(b':');
        }
        take(buffer);
        sorted(child, buffer, take);
    }
    take(close);
}

fn write_scalar(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Number(text) => out.extend_from_slice(text.as_bytes()),
        Value::Text(text) => write_text(text, out),
        Value::List | Value::Object => {}
    }
}

/// A JSON string; what RFC 8259 does not have escaped stands for itself.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..=0x1f)) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, behind)) = from.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> String {
        let resource = Resource::parse(text.as_bytes(), 1 << 20).unwrap();
        let mut parts = Vec::new();
        resource.digest_parts(|part| parts.extend_from_slice(part));
        String::from_utf8(parts).unwrap()
    }

    #[test]
    fn what_is_written_is_compact_in_order_and_keeps_numbers() {
        let text = "{ \"resourceType\" : \"Observation\",\n \"b\": [1.50, -0, 1E+2, true, null, {}, []],\n \"a\": \"q\\\"\\\\\\u0001\\n\\/\\u00e9\" }";
        let compact = r#"{"resourceType":"Observation","b":[1.50,-0,1E+2,true,null,{},[]],"a":"q\"\\\u0001\n/é"}"#;
        let resource = Resource::parse(text.as_bytes(), 1 << 20).unwrap();
        assert_eq!(String::from_utf8(resource.compact()).unwrap(), compact);
    }

    #[test]
    fn what_says_the_same_has_the_same_digest_whatever_its_order_and_meta() {
        let one = digest(
            r#"{"resourceType":"Patient","meta":{"versionId":"1"},"b":{"y":1,"x":[{"meta":2}]},"a":"\u0041"}"#,
        );
        assert_eq!(
            one,
            digest(r#"{"a":"A","b":{"x":[{"meta":2}],"y":1},"resourceType":"Patient"}"#)
        );
        assert_eq!(one, r#"{"a":"A","b":{"x":[{"meta":2}],"y":1},"resourceType":"Patient"}"#);
        assert_ne!(
            one,
            digest(r#"{"a":"A","b":{"x":[{"meta":2}],"y":1.0},"resourceType":"Patient"}"#)
        );
    }
}
