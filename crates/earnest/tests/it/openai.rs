//! OpenAI's clients as they come, on llama.cpp's server with a tiny model of noise, and on an upstream that fails as it
//! is asked to.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{folder, root};

/// A process that prints `upstream URL MODEL` when it answers; killed with the test.
pub(crate) struct Upstream {
    child: Child,
    pub(crate) url: String,
}

impl Upstream {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("the upstream starts");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("its output"));
        lines.read_line(&mut line).expect("a line");
        let url = line.split_whitespace().nth(1).expect("a URL").to_string();
        Upstream { child, url }
    }

    /// llama.cpp on noise; `noise.lines` in the folder gets what it counted of each generation.
    pub(crate) fn noise(python: &str, folder: &Path) -> Self {
        let script = root().join("e2e/models/serve.py");
        Self::start(
            Command::new(python)
                .arg(script)
                .arg("--lines")
                .arg(folder.join("noise.lines"))
                .arg("--log")
                .arg(folder.join("noise.log")),
        )
    }

    /// What fails as it is asked to; its log is at `/log`.
    pub(crate) fn trouble() -> Self {
        Self::start(Command::new("node").arg(root().join("e2e/openai/trouble.mjs")))
    }

    pub(crate) fn log(&self) -> String {
        self.url.replace("/v1", "/log")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The interpreter with OpenAI's clients, where there is one; the suites in Node need the packages of e2e as well.
pub(crate) fn python() -> Option<String> {
    let python = std::env::var("EARNEST_PYTHON").ok().filter(|_| std::env::var("EARNEST_E2E").is_ok());
    if python.is_none() {
        println!(
            "skipped: EARNEST_PYTHON and EARNEST_E2E do not name OpenAI's clients; cargo xtask test does"
        );
    }
    python
}

/// Runs every suite `against` an upstream or a gateway, with the environment that e2e/openai/common.mjs tells of. One
/// after the other: what is computed in one batch with others' requests is not repeated to the bit.
pub(crate) fn suites(python: &str, against: &str, environment: &[(&str, &str)]) {
    for (interpreter, suite) in [("node", "node.mjs"), ("node", "ai-sdk.mjs"), (python, "python.py")] {
        let mut command = Command::new(interpreter);
        command.arg(root().join("e2e/openai").join(suite)).args(["--against", against]);
        let output = command.envs(environment.iter().copied()).output().expect("the suite starts");
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{suite}: {errors}{said}");
        println!("{said}");
    }
}

#[test]
fn stock_clients_find_in_the_upstream_what_they_expect() {
    let Some(python) = python() else { return };
    let (noise, trouble) = (Upstream::noise(&python, &folder("openai-upstream")), Upstream::trouble());
    suites(
        &python,
        "upstream",
        &[
            ("EARNEST_BASE_URL", &noise.url),
            ("EARNEST_TROUBLE_URL", &trouble.url),
            ("EARNEST_TROUBLE_LOG", &trouble.log()),
        ],
    );
}
