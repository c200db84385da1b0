//! A changed contract, held against the one of before: of a folder, and of a git revision.

use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};

use crate::support::TOKEN;
use crate::support::daemon::{Setup, TIDEGATE};

fn setup() -> Setup {
    let setup = Setup::new()
        .pseudonymous("trial", "CLINTRCH", "require = \"opt-in\"", &["patient.updated"], TOKEN)
        .file_route("ward", &["patient.updated"]);
    setup.config();
    setup
}

/// What a route's contract says instead of something.
fn change(setup: &Setup, route: &str, from: &str, to: &str) {
    let file = setup.dir.path().join(format!("routes/{route}.toml"));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    std::fs::write(file, text.replace(from, to)).unwrap();
}

/// Exit code, standard output, standard error.
fn against(setup: &Setup, named: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = setup.command(&[&["check", "--against", named], arguments].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json_of(setup: &Setup, named: &str) -> (i32, Json) {
    let (code, out, _) = against(setup, named, &["--json"]);
    (code, serde_json::from_str::<Json>(&out).unwrap()["against"].take())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// git in the folder of a configuration, without settings of whoever runs the tests.
fn git(setup: &Setup, arguments: &[&str]) {
    let output = Command::new("git")
        .arg("-C")
        .arg(setup.dir.path())
        .args(["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// PROMISE-7: what a change lets out beyond what its version says is told before it holds.
#[test]
fn a_change_that_its_version_does_not_say_is_a_no_with_its_place() {
    let setup = setup();
    let (old, routes) = (setup.dir.path().join("old"), setup.dir.path().join("routes"));
    copy(&routes, &old.join("routes"));
    git(&setup, &["init", "--quiet"]);
    git(&setup, &["add", "routes"]);
    git(&setup, &["commit", "--quiet", "--message", "as it was"]);
    git(&setup, &["tag", "before"]);
    let (folder, bare) = (old.to_str().unwrap(), old.join("routes"));
    let places = [folder, bare.to_str().unwrap(), "HEAD", "before"];
    for named in places {
        let (code, out, err) = against(&setup, named, &[]);
        assert_eq!((code, err.as_str()), (0, ""), "{named}: {out}");
        assert!(out.contains("route trial 1.0.0 -> 1.0.0: 0 changes\n"), "{out}");
        assert!(out.ends_with("every version says what changed\n"), "{out}");
    }

    change(&setup, "trial", "\"visit.class\" = \"keep\"", "\"visit.status\" = \"keep\"");
    change(&setup, "trial", "require = \"opt-in\"", "require = \"opt-out\"");
    change(&setup, "trial", "version = \"1.0.0\"", "version = \"1.1.0\"");
    std::fs::rename(routes.join("ward.toml"), routes.join("bed.toml")).unwrap();
    change(&setup, "bed", "\"ward\"", "\"bed\"");
    let file = routes.join("trial.toml").display().to_string();
    let finding = |kind: &str, (line, column): (u32, u32), text: &str, wanted: Option<&str>| json!({ "kind": kind, "file": file, "line": line, "column": column, "text": text, "wantedVersion": wanted });
    let told = |wanted: Option<&str>, version: &str| {
        json!({
            "routes": [{ "route": "trial", "old": "1.0.0", "new": version, "findings": [
                finding("breaking", (12, 2), "visit.class.code does not leave any more", wanted),
                finding("lowers protection", (11, 1),
                    "`consent.require` is opt-out, and was opt-in", wanted),
                finding("addition", (14, 1),
                    "visit.status.code leaves by `keep` (clinical), and did not", None),
            ] }],
            "added": ["bed"], "removed": ["ward"],
        })
    };
    for named in places {
        assert_eq!(json_of(&setup, named), (1, told(Some("2.0.0"), "1.1.0")), "{named}");
    }
    let (code, out, err) = against(&setup, "HEAD", &[]);
    assert_eq!(code, 1);
    let line = format!(
        "{file}:12:2: breaking: visit.class.code does not leave any more; `version` is 2.0.0 at \
         least\n"
    );
    assert!(err.contains(&line), "{err}");
    for line in ["route ward: removed; its consumer gets nothing more\n", "2 changes want another"]
    {
        assert!(out.contains(line), "{out}");
    }

    // Once the version says it, it is a note.
    change(&setup, "trial", "version = \"1.1.0\"", "version = \"2.0.0\"");
    assert_eq!(json_of(&setup, "HEAD"), (0, told(None, "2.0.0")));
    let (code, _, err) = against(&setup, "HEAD", &[]);
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn what_cannot_be_held_against_is_wrong_use_and_says_why() {
    let setup = setup();
    let wrong = |named: &str, words: &str| {
        let (code, out, err) = against(&setup, named, &[]);
        assert_eq!((code, out.as_str()), (2, ""), "{named}: {err}");
        assert!(err.contains(words), "{words} in {err}");
    };
    wrong("HEAD", "`HEAD` is no folder and no git revision of ");
    git(&setup, &["init", "--quiet"]);
    git(&setup, &["commit", "--quiet", "--allow-empty", "--message", "nothing"]);
    wrong("HEAD", "HEAD: there is no contract");
    wrong("no-such", "`no-such` is no folder and no git revision of ");
    wrong("", "`` is no folder and no git revision");
    let output = setup.command(&["check", "--against=--output=x"]);
    assert_eq!(output.status.code(), Some(2));
    let empty = setup.dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    wrong(empty.to_str().unwrap(), "there is no contract");
    // Of one that does not load, nothing can be said.
    git(&setup, &["add", "routes"]);
    git(&setup, &["commit", "--quiet", "--message", "right"]);
    change(&setup, "trial", "tier = ", "teir = ");
    git(&setup, &["commit", "--quiet", "--all", "--message", "wrong"]);
    let (code, _, err) = against(&setup, "HEAD", &[]);
    assert_eq!(code, 2);
    assert!(err.contains("routes/trial.toml:1:1: `tier` is missing"), "{err}");
    change(&setup, "trial", "teir = ", "tier = ");
    wrong("HEAD", "`teir` is not known; did you mean `tier`?");
    assert_eq!(against(&setup, "HEAD~1", &[]).0, 0);

    let config = setup.dir.path().join("tidegate.toml");
    let mut without = Command::new(TIDEGATE);
    without.args(["check", "--against", "HEAD~1", "--config"]).arg(config).env("PATH", "/nowhere");
    let output = without.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("git cannot be run"), "{output:?}");
}
