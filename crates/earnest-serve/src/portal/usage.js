// What an API key has left and has used, and its receipts. The key stays in this tab and goes to the gateway alone.

import { ask, gateway, make, named, problem, table, words } from "/asset/ask.js";

const at = (id) => document.getElementById(id);
const KEPT = "earnest api key";
const DAYS = 30;
const form = at("key-form");
const view = at("key-view");

function kept() { try { return sessionStorage.getItem(KEPT) ?? ""; } catch { return ""; } }
function keep(key) { try { key ? sessionStorage.setItem(KEPT, key) : sessionStorage.removeItem(KEPT); } catch { /* then for this page only */ } }

/** Whole coins of base units, as exact as they are. */
function coins(units, coin) {
  const places = coin === "cash" ? 6 : 18;
  const digits = String(units).padStart(places + 1, "0");
  const [whole, part] = [digits.slice(0, -places), digits.slice(-places).replace(/0+$/, "")];
  return `${whole.replace(/\B(?=(\d{3})+$)/g, ",")}${part ? `.${part}` : ""} ${document.body.dataset[coin]}`;
}

const number = (value) => Number(value).toLocaleString("en-US");
const drawn = (name, attributes, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

/** Parts of a whole in thousandths, of numbers too long for a browser's own. */
const share = (part, whole) => (whole > 0n ? Number((BigInt(part) * 1000n) / whole) : 0);
const most = (rows) => rows.reduce((top, { units }) => (BigInt(units) > top ? BigInt(units) : top), 0n);

/** A column a day, the last thirty; the table below has the figures. */
function chart(rows, coin) {
  const byDay = new Map(rows.map((row) => [row.day, row]));
  const last = rows.length ? Date.parse(rows.at(-1).day) : Date.now();
  const today = Math.max(last, Date.parse(new Date().toISOString().slice(0, 10)));
  const days = Array.from({ length: DAYS }, (_, back) => new Date(today - (DAYS - 1 - back) * 86400000).toISOString().slice(0, 10));
  const top = most(rows);
  const [width, height, step] = [600, 140, 20];
  const bars = days.map((day, place) => {
    const row = byDay.get(day);
    const tall = row ? Math.max(2, Math.round((share(row.units, top) * height) / 1000)) : 0;
    return drawn("rect", { x: place * step + 2, y: height - tall, width: step - 4, height: tall, class: "fill-0" },
      drawn("title", {}, `${day}: ${row ? coins(row.units, coin) : "nothing"}`));
  });
  const picture = drawn("svg", { class: "chart usage-chart", viewBox: `0 0 ${width} ${height + 24}`, role: "img", "aria-label": `Charges of the last ${DAYS} days, at most ${coins(top, coin)} a day. The table below has the figures.` },
    drawn("line", { class: "axis", x1: 0, x2: width, y1: height, y2: height }), ...bars,
    drawn("text", { class: "tick", x: 0, y: height + 18 }, days[0]),
    drawn("text", { class: "tick", x: width, y: height + 18, "text-anchor": "end" }, days.at(-1)));
  return make("figure", {}, make("figcaption", {}, `Charged a day, at most ${coins(top, coin)}`), picture);
}

/** A table whose charges are bars, too. */
function bars(caption, title, by, rows, coin) {
  const top = most(rows);
  const lines = rows.map((row) => [
    make("bdi", {}, String(row[by])), number(row.requests), number(row.usage.input), number(row.usage.output), coins(row.units, coin),
    drawn("svg", { class: "bar-of", viewBox: "0 0 100 12", width: 100, height: 12, "aria-hidden": "true" },
      drawn("rect", { x: 0, y: 0, width: Math.max(1, share(row.units, top) / 10), height: 12, class: "fill-0" })),
  ]);
  return table(caption, [title, "Requests#", "Model tokens read#", "Written#", "Charged#", "Against the most"], lines);
}

/** What can be checked here without a curve: that the charge is the usage at the prices, and that these are the chain's. */
function checks(receipt, prices) {
  const big = (value) => BigInt(value ?? 0);
  const { usage, rates, service } = receipt;
  const cached = Math.min(usage.cached ?? 0, usage.input);
  const sum = service === "embedding"
    ? big(usage.input) * big(rates.embedding)
    : big(usage.input - cached) * big(rates.input) + big(cached) * big(rates.cached ?? rates.input) + big(usage.output) * big(rates.output);
  const cost = (sum + 999999n) / 1000000n || 1n;
  const list = [[big(receipt.charge) <= cost, `It charges ${coins(receipt.charge, receipt.coin)}; its usage at its prices costs ${coins(cost, receipt.coin)}, rounded up once.`]];
  const version = prices?.versions?.find((one) => one.version === receipt.price_version);
  if (version) {
    const same = Object.entries(rates).every(([unit, price]) => {
      const entry = version.entries.find((one) => one.model === receipt.model && one.unit === unit);
      return price === undefined || price === null || entry?.[receipt.coin] === String(price);
    });
    list.push([same, `Its prices are those of version ${receipt.price_version} of the price list on the chain.`]);
    const time = Math.floor(receipt.time / 1000);
    const clock = document.body.dataset.clock === "runs" ? Number(document.body.dataset.now) - Date.now() / 1000 : 0;
    // A development chain's clock may be elsewhere: then times cannot be compared.
    if (Math.abs(clock) < 3600) list.push([time >= version.valid_from && (version.valid_until === null || time <= version.valid_until + 60), "That version was in force at the time of the request."]);
  }
  return list;
}

function receiptView(signed, prices) {
  const receipt = JSON.parse(signed.receipt);
  const text = JSON.stringify(signed);
  const file = `${String(receipt.id).replace(/[^\w-]/g, "")}.json`;
  const box = make("details", { class: "receipt" });
  const day = new Date(receipt.time).toISOString().replace("T", " ").slice(0, 19);
  box.append(make("summary", {}, `${day}, ${receipt.model}, ${coins(receipt.charge, receipt.coin)}${receipt.complete ? "" : ", cut off"}`));
  box.addEventListener("toggle", () => {
    if (!box.open || box.children.length > 1) return;
    const download = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: file }, `Download ${file}`);
    box.append(
      make("ul", { class: "checks" }, ...checks(receipt, prices).map(([ok, told]) => make("li", { class: ok ? "ok" : "not" }, `${ok ? "Yes" : "No"}: ${told}`))),
      make("p", {}, download),
      make("p", {}, "Its signature is checked by a program of your own, without asking anyone. With ", make("a", { href: "/deployment.json", download: true }, "deployment.json"), " in the same folder:"),
      make("pre", { tabindex: "0" }, make("code", {}, `earnest receipt verify ${file} --state .`)),
      make("pre", { tabindex: "0", class: "receipt-text" }, make("code", {}, JSON.stringify(receipt, null, 2))),
      make("p", { class: "quiet" }, "Signature: ", make("code", {}, String(signed.signature))),
    );
  }, false);
  return box;
}

/** Everything about a key, asked anew. */
async function look(key) {
  const { key: self, coin, ...balance } = await ask("/earnest/balance", { key });
  const [days, models, keys, receipts, prices] = await Promise.all([
    ...["day", "model", "key"].map((by) => ask(`/earnest/usage?by=${by}&days=${DAYS}`, { key })),
    ask("/earnest/receipts", { key }),
    fetch("/prices.json").then((answer) => (answer.ok ? answer.json() : null)).catch(() => null),
  ]);
  const fact = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value)));
  const money = (name) => coins(balance.units[name], coin);
  const parts = [
    make("h3", {}, "Key ", make("bdi", {}, self.name || self.id)),
    make("dl", { class: "facts" },
      fact("Left to use now", money("left")), fact("Signed for in all", money("signed")), fact("Deposited", money("deposited")),
      fact("Charged so far, by all keys of the channel", money("charged")), fact("Reserved by requests now", money("reserved")),
      fact("Spent by this key", named(self.spent)), fact("Its limit a day (UTC)", named(self.per_day ?? "none")), fact("Its limit in all", named(self.total ?? "none")),
      fact("Models it may use", (self.models ?? ["all"]).join(", ")), fact("Public name", self.id)),
  ];
  if (!days.data.length) parts.push(make("p", {}, `Nothing was used in the last ${DAYS} days.`));
  else {
    const rows = days.data.map((row) => [row.day, number(row.requests), number(row.usage.input), number(row.usage.output), coins(row.units, coin)]);
    parts.push(
      make("h3", {}, "By day"), chart(days.data, coin),
      make("details", {}, make("summary", {}, "The same as a table"), table(`This key by day, the last ${DAYS} days`, ["Day", "Requests#", "Model tokens read#", "Written#", "Charged#"], rows)),
      make("h3", {}, "By model"), bars("This key by model", "Model", "model", models.data, coin),
    );
  }
  if (keys.data.length) parts.push(make("h3", {}, "By key"), bars("All keys of the channel", "Key", "key", keys.data.map((row) => (row.key === self.id ? { ...row, key: `${row.key} (this one)` } : row)), coin));
  parts.push(make("h3", {}, "Receipts"));
  if (!receipts.data.length) parts.push(make("p", {}, "None yet."));
  else {
    const all = new Blob([JSON.stringify(receipts.data, null, 1)], { type: "application/json" });
    parts.push(
      make("p", {}, `The newest ${receipts.data.length} of the channel, each signed by the gateway. `, make("a", { href: URL.createObjectURL(all), download: "receipts.json" }, "Download all of them")),
      ...receipts.data.map((signed) => receiptView(signed, prices)),
    );
  }
  view.replaceChildren(...parts);
}

/** Whether it went well. */
async function show(key) {
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  form.setAttribute("aria-busy", "true");
  try {
    if (!key) throw Object.assign(new Error("No key is given. Paste it, or make one below."), { told: true });
    if (!/^[\x21-\x7e]{1,200}$/.test(key)) throw Object.assign(new Error("This is no API key: it is one word, sk-earnest- and 43 more characters."), { told: true });
    await look(key);
    keep(key);
    at("key-forget").hidden = false;
    return true;
  } catch (error) {
    view.replaceChildren(problem(error.status === 401 ? "The gateway does not know this key, or it was revoked. Check that it is whole, or make another." : words(error)));
    if (error.status === 401) keep("");
    return false;
  } finally {
    button.disabled = false;
    form.removeAttribute("aria-busy");
  }
}

if (form && gateway) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await show(at("api-key").value.trim())) view.focus();
  });
  at("key-forget").addEventListener("click", () => {
    keep("");
    at("api-key").value = "";
    at("key-forget").hidden = true;
    view.replaceChildren();
    at("api-key").focus();
  });
  document.addEventListener("api-key", async ({ detail }) => {
    at("api-key").value = detail;
    if (await show(detail)) view.focus();
  });
  if (kept()) {
    at("api-key").value = kept();
    show(kept());
  }
}
