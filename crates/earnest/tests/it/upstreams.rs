//! Real servers behind the gateway: what they make is what is charged, as an upstream of the gateway's own and through a
//! provider that dialled in.

use std::process::Command;

use crate::openai::{Lab, Upstream, python};
use crate::{folder, root};

/// Plays all kinds of requests against a server, both ways. `called` is what e2e/upstreams/real.py calls it.
fn play(server: &str, called: &str, python: &str) {
    let folder = folder(&format!("charged-{server}"));
    let upstream = Upstream::real(called, python, &folder);
    let check = |how: &str, lab: &Lab, more: &[&str]| {
        let output = Command::new(python)
            .arg(root().join("e2e/upstreams/charged.py"))
            .args(["--api", &lab.url, "--key", &lab.key, "--server", server, "--lines"])
            .arg(folder.join("noise.lines"))
            .args(more)
            .output()
            .expect("the script starts");
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{server} {how}: {errors}{said}");
        println!("{server} {how}:\n{said}");
    };
    // `earnest up` has a provider that dials in; its own log says what it stated, and what it was told.
    let lab = Lab::start(&folder, &["--upstream", &upstream.url, "--model", "noise"]);
    let served = folder.join(".earnest/provider/served.jsonl");
    check("through a provider", &lab, &["--served", served.to_str().expect("a path")]);
    let lab = lab.with_its_own_upstream(&folder, &upstream.url, "noise");
    check("as the gateway's own", &lab, &[]);
}

#[test]
fn what_llama_cpp_makes_is_what_is_charged() {
    let Some(python) = python() else { return };
    play("llama.cpp", "xllamacpp", &python);
}

#[test]
fn what_llama_cpp_makes_behind_litellms_proxy_is_what_is_charged() {
    let Some(python) = python() else { return };
    play("litellm", "litellm", &python);
}

/// `cargo xtask upstreams` installs them, and names their interpreters.
#[test]
fn what_servers_make_that_take_long_to_install_is_what_is_charged() {
    for (server, variable) in
        [("llama-cpp-python", "EARNEST_LLAMA_CPP_PYTHON"), ("transformers", "EARNEST_TRANSFORMERS")]
    {
        match std::env::var(variable) {
            Ok(python) => play(server, server, &python),
            Err(_) => println!("skipped: {variable} is not set; cargo xtask upstreams does"),
        }
    }
}
