//! The libraries that wallets and pages are built with, unchanged, on `earnest up` and on anvil.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::anvil::{Anvil, RICH, RICH_ADDRESS, rich_plan};
use crate::up::Up;
use crate::{folder, root, said};

/// Play money, an open round and a permit.
fn prepare(folder: &Path, key: &[&str], attester: &[&str]) {
    said(folder, &[&["faucet", RICH_ADDRESS, "5_000 cash"], key].concat());
    said(folder, &["clock", "--forward", "30 hours"]);
    let sign = ["permit", "sign", "--round", "early", "--wallet", RICH_ADDRESS, "--entity", "7"];
    let permit = said(folder, &[&sign[..], attester].concat());
    std::fs::write(folder.join("permit.json"), permit).expect("a file");
}

/// The binary itself, not npm's wrapper around it.
fn cast(modules: &Path) -> PathBuf {
    let packages = std::fs::read_dir(modules.join("@foundry-rs")).expect("foundry's packages");
    let mut binaries = packages.map(|package| package.expect("a package").path().join("bin/cast"));
    binaries.find(|path| std::fs::read(path).is_ok_and(|bytes| !bytes.starts_with(b"#!"))).expect("cast")
}

/// Runs a script of e2e/clients on `earnest up`, and on anvil where there is one.
fn run_on_both(client: &str) {
    let Ok(modules) = std::env::var("EARNEST_E2E") else {
        println!("skipped: EARNEST_E2E does not name the node_modules of e2e; cargo xtask test does");
        return;
    };
    let run = |folder: &Path, url: &str| {
        let script = root().join("e2e/clients").join(client);
        let mut command = Command::new(if client.ends_with(".mjs") { "node" } else { "sh" });
        command.arg(script).args([url, ".earnest", "permit.json", "key"]).current_dir(folder);
        if client == "cast.sh" {
            command.arg(cast(Path::new(&modules)));
        }
        let output = command.output().expect("it starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{client} on {url}: {errors}{}",
            String::from_utf8_lossy(&output.stdout)
        );
    };
    let on_up = folder(&format!("{client}-up"));
    std::fs::write(on_up.join("key"), RICH).expect("a file");
    let up = Up::start(&on_up);
    prepare(&on_up, &[], &["--as", "attester"]);
    run(&on_up, &up.url);

    let Ok(binary) = std::env::var("EARNEST_ANVIL") else { return };
    let on_anvil = folder(&format!("{client}-anvil"));
    std::fs::write(on_anvil.join("key"), RICH).expect("a file");
    let anvil = Anvil::start(&binary, &[]);
    rich_plan(&on_anvil);
    let key = ["--key-file", "key"];
    said(&on_anvil, &[&["deploy", "plan.toml", "--rpc", &anvil.1], &key[..]].concat());
    prepare(&on_anvil, &key, &key);
    run(&on_anvil, &anvil.1);
}

#[test]
fn stock_clients_bid_and_settle_on_up_and_on_anvil() {
    for client in ["viem.mjs", "ethers.mjs", "cast.sh"] {
        run_on_both(client);
    }
}

#[test]
fn x402s_own_client_and_facilitator_work_on_our_channels_on_up_and_on_anvil() {
    run_on_both("x402.mjs");
}
