// Compiles contracts/src and contracts/test with npm's solc into the given folder: ABI, bytecode and storage layout, one file a contract.
import { createRequire } from 'node:module';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

import { frauds, holes } from './test/frauds.mjs';

const require = createRequire(import.meta.url);
const solc = require('solc');
const root = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(root, 'artifacts');

const sources = {};
const collect = (folder) => {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) collect(path);
    else if (path.endsWith('.sol')) sources[relative(root, path)] = { content: readFileSync(path, 'utf8') };
  }
};
collect(join(root, 'src'));
collect(join(root, 'test'));

const OUTPUT = ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object', 'storageLayout'];
// What is called for every claim and has room to grow: compiled for speed, the rest for a size that chains take.
const FAST = ['src/Channels.sol', 'src/DepositCollector.sol', 'src/Revenue.sol'];
const settings = (runs, files) => ({
  // No metadata hash and no CBOR, so that the bytes depend on the sources and the settings alone.
  viaIR: true,
  evmVersion: 'cancun',
  optimizer: { enabled: true, runs },
  metadata: { bytecodeHash: 'none', appendCBOR: false },
  outputSelection: Object.fromEntries(files.map((file) => [file, { '*': OUTPUT }])),
});
const find = (path) => {
  try {
    return { contents: readFileSync(join(root, 'node_modules', path), 'utf8') };
  } catch (error) {
    return { error: `${path}: ${error.message}; run npm ci in contracts/` };
  }
};
const compile = (sources, runs, files) => {
  const input = { language: 'Solidity', sources, settings: settings(runs, files) };
  const result = JSON.parse(solc.compile(JSON.stringify(input), { import: find }));
  let failed = false;
  for (const error of result.errors ?? []) {
    const ours = error.sourceLocation?.file in sources;
    const crooked = error.errorCode === '5574' && error.sourceLocation?.file.startsWith('crooked'); // too large, on purpose
    if (error.severity === 'error' || (ours && !crooked)) {
      console.error(error.formattedMessage);
      failed = true; // a warning in our own sources is an error too
    }
  }
  if (failed) process.exit(1);
  return Object.entries(result.contracts).filter(([file]) => files.includes(file));
};

// The same sources with every fraud and every hole asleep in them; the two are in different files.
const crooked = {};
for (const [file, { content }] of Object.entries(sources)) {
  if (file.startsWith('src')) crooked[`crooked/${file.slice(4)}`] = { content };
}
for (const [index, [name, file, honest, dishonest]] of [...frauds.entries(), ...holes.entries()]) {
  const source = crooked[`crooked/${file}`];
  if (source.content.split(honest).length !== 2) {
    console.error(`test/frauds.mjs: what ${name} changes does not stand once in ${file}`);
    process.exit(1);
  }
  if (!dishonest.includes(`FRAUD(${index + 1})`)) throw new Error(`${name} is not number ${index + 1}`);
  source.content = source.content.replace(honest, () => dishonest);
}
const changed = new Set([...frauds, ...holes].map(([, file]) => file));
for (const file of changed) {
  const asked = `\nfunction fraudIs(uint256 which) view returns (bool yes) {
    assembly ("memory-safe") {
        yes := eq(sload(0xf4a0d), which)
    }
}\n`;
  const source = crooked[`crooked/${file}`];
  source.content = source.content.replaceAll('FRAUD(', 'fraudIs(') + asked;
}

const runs = Number(process.env.RUNS ?? 1200);
const small = Object.keys(sources).filter((file) => !FAST.includes(file));
const honest = [...compile(sources, runs, small), ...compile(sources, 1_000_000, FAST)];
// SignedTransfers comes to a chain as part of the credit.
const cheats = compile(crooked, runs, [...changed, 'Credit.sol'].map((file) => `crooked/${file}`));

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
for (const [file, contracts] of honest) {
  for (const [name, contract] of Object.entries(contracts)) {
    const bytecode = contract.evm.bytecode.object;
    if (bytecode === '') continue;
    const size = contract.evm.deployedBytecode.object.length / 2;
    if (size > 24576) {
      console.error(`${name} has ${size} bytes of code; a chain takes 24576 at most`);
      if (!process.env.RUNS) process.exit(1);
    }
    const storage = contract.storageLayout?.storage?.map(({ label, slot, offset }) => ({ label, slot: Number(slot), offset }));
    const artifact = { contractName: name, sourceName: file, abi: contract.abi, bytecode: `0x${bytecode}`, deployedSize: size, storage };
    writeFileSync(join(out, `${name}.json`), `${JSON.stringify(artifact, null, 1)}\n`);
    if (!file.startsWith('test')) console.log(`${name} ${size} bytes`);
  }
}
const bytecode = {};
for (const [file, contracts] of cheats) {
  for (const [name, contract] of Object.entries(contracts)) {
    if (contract.evm.bytecode.object !== '') bytecode[name] = `0x${contract.evm.bytecode.object}`;
  }
}
const names = (list) => list.map(([name]) => name);
const said = { frauds: names(frauds), holes: names(holes), bytecode };
writeFileSync(join(out, 'Crooked.json'), `${JSON.stringify(said, null, 1)}\n`);
