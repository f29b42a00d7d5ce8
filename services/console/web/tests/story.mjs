// The closing story on a running stack, by two people: from a declined payment to a rule that acts, from a waiting model to an aborted
// rollout, from a page to its runbook. `TELL` holds the address and the two people; traffic runs meanwhile.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, page, settled, violations } from "./browser.mjs";

const { url, author, approver, password } = JSON.parse(process.env.TELL ?? "{}");
/** what other processes do, such as serving a version or an alert, takes its time on a busy machine */
const SOON_MS = 120_000;
/** another each time: it stands on a stack that others use */
const RULE = `dear-${Date.now()}`;
const PLAN = `
[[steps]]
kind = "canary"
share = 0.3
min_decisions = 200000
min_s = 60
[[guards]]
metric = "decline_rate"
max = 5.0
min = 0.1
[[guards]]
metric = "error_rate"
max = 0.5
`;

let chrome;
let made;
let wrong;
let close;
const dialog = () => made.getByRole("dialog");
const toast = (text) => made.locator(".toast").getByText(text).first().waitFor({ timeout: SOON_MS });

before(async () => {
  chrome = await browser();
  ({ page: made, wrong, close } = await page(chrome, url));
});
after(async () => {
  await close?.();
  await chrome?.close();
});

async function enter(name) {
  await made.goto("/");
  const out = made.getByRole("button", { name: "Sign out" });
  await Promise.race([out.waitFor(), made.getByLabel("Password").waitFor()]);
  if (await out.count()) await out.click();
  await made.getByLabel("Name").fill(name);
  await made.getByLabel("Password").fill(password);
  await made.keyboard.press("Enter");
  await made.getByRole("navigation", { name: "Screens" }).waitFor();
}

const open = async (path) => {
  await made.goto(path);
  await settled(made);
};

/** Look again until `there` is on the screen: what others do shows when the screen is read again. */
async function openUntil(path, there) {
  const until = Date.now() + SOON_MS;
  do {
    await open(path);
    if (await there().count()) return;
    await made.waitForTimeout(1_000);
  } while (Date.now() < until);
  assert.fail(`${path} does not show it within ${SOON_MS / 1000} s: ${(await made.locator("#screen").innerText()).slice(0, 2_000)}`);
}

/** The live policy with one rule more, tested on the past and proposed; the version that awaits approval. */
async function propose(name, action, why) {
  await open("/rules?view=edit");
  const text = made.getByLabel("Policy as TOML");
  await text.fill(`[[rules]]\nname = "${name}"\nwhen = "amount_minor >= 4000"\naction = "${action}"\nowner = "${author}"\nreason = "dear"\n\n${await text.inputValue()}`);
  await made.getByText("Valid.").waitFor({ timeout: SOON_MS });
  await made.getByRole("button", { name: "Test on archived payments" }).click();
  await made.getByRole("row", { name }).waitFor({ timeout: SOON_MS });
  await made.getByRole("button", { name: "Propose …" }).click();
  await dialog().getByText(`name = "${name}"`).waitFor();
  await dialog().getByLabel("Reason").fill(why);
  await dialog().getByRole("button", { name: "Propose" }).click();
  await toast("awaits approval by somebody else");
  return (await made.locator(".toast").getByText("awaits approval by somebody else").first().innerText()).split(" ")[0];
}

test("traffic is watched", async () => {
  await enter(author);
  await made.waitForFunction(() => Number(document.querySelector(".figure .value")?.firstChild?.textContent?.replaceAll(",", "")) > 1, null, { timeout: SOON_MS });
  await made.getByText("live", { exact: true }).waitFor();
});

test("a declined payment is opened and says why", async () => {
  await openUntil("/decisions?decision=decline", () => made.locator("tbody .verdict.decline"));
  await made.locator("tbody tr").first().getByRole("link").first().click();
  await made.waitForURL("**/decisions/*");
  await settled(made);
  assert.ok((await made.locator(".reasons li").count()) > 0, "reasons");
  await made.getByText("decline from").first().waitFor();
  await made.getByRole("heading", { name: "The card's payments" }).waitFor();
});

test("the queue is worked by keyboard", async () => {
  await openUntil("/queue", () => made.locator('[role="row"].item'));
  await made.keyboard.press("n");
  const chosen = made.locator('[role="row"][aria-selected="true"]');
  await chosen.getByText("yours").waitFor();
  await made.keyboard.press("f");
  await toast(": fraud");
  await made.keyboard.press("u");
  await toast("Undone.");
  await made.keyboard.press("g");
  await toast(": genuine");
});

test("a rule is written, tested on the past, approved by another person, and acts", async () => {
  const version = await propose(RULE, "review", "card testing of this week");
  await open("/models");
  await made.getByText(`${version} awaits approval`).waitFor({ timeout: SOON_MS });
  await enter(approver);
  await open(`/models/${version}`);
  await made.getByRole("button", { name: "Approve" }).click();
  await dialog().getByLabel("Reason").fill("tested on the past");
  await dialog().getByRole("button", { name: "Approve" }).click();
  await toast(`${version} is live`);
  await openUntil(`/decisions?rule=${RULE}`, () => made.locator("tbody .verdict.review"));
  await made.locator("tbody tr").filter({ has: made.locator(".verdict.review") }).first().getByRole("link").first().click();
  await made.waitForURL("**/decisions/*");
  await settled(made);
  await made.locator(".reasons").getByText(`RULE_${RULE.replaceAll("-", "_").toUpperCase()}`).first().waitFor();
});

test("a waiting model is compared, rolled out, watched while it is judged, and undone", async () => {
  await enter(author);
  const version = await propose(`${RULE}-seen`, "observe", "to see how often");
  await enter(approver);
  await open(`/models/${version}?compare=1`);
  await made.getByRole("heading", { name: "On the same payments" }).waitFor({ timeout: SOON_MS });
  // the comparison, with figures; the gates have a row of that name, too
  await made.getByRole("row", { name: /^average precision [\d.]/ }).waitFor({ timeout: SOON_MS });
  await made.getByRole("button", { name: "Start rollout" }).click();
  await dialog().getByText("A plan of your own").click();
  await dialog().getByLabel("Steps and guards, TOML").fill(PLAN);
  await dialog().getByLabel("Reason").fill("a third of the cards");
  await dialog().getByRole("button", { name: "Start rollout" }).click();
  await toast("has begun");
  await openUntil("/rollout", () => made.getByText("30.0 %"));
  // judged on payments that it decided: the count of a check grows
  const judged = made.locator("tbody tr").filter({ hasText: "decline rate" }).locator("td.number").first();
  await made.waitForFunction(() => [...document.querySelectorAll("tbody tr")].some((row) => row.textContent?.includes("decline rate") && Number(row.querySelectorAll("td.number")[0]?.textContent?.replaceAll(",", "")) > 0), null, { timeout: SOON_MS });
  assert.match(await judged.innerText(), /^[\d,]+$/);
  assert.deepEqual(await violations(made), []);
  await made.getByRole("button", { name: "Abort" }).click();
  await dialog().getByLabel("Reason").fill("the story is over");
  await dialog().getByRole("button", { name: "Abort" }).click();
  await toast("Aborted: the champion serves every card.");
  await made.locator("h2 + .tag").getByText("rolled back").waitFor({ timeout: SOON_MS });
});

test("a page is seen and its runbook opened", async () => {
  await enter(author);
  await openUntil("/oncall", () => made.locator("tbody").getByRole("link", { name: "Runbook" }));
  const row = made.locator("tbody tr").filter({ has: made.getByRole("link", { name: "Runbook" }) }).first();
  const alert = (await row.getByRole("rowheader").innerText()).split(" ")[0];
  await row.getByRole("link", { name: "Runbook" }).click();
  await made.waitForURL("**/oncall/runbooks/*");
  await settled(made);
  await made.getByRole("heading", { name: alert }).first().waitFor();
  assert.ok((await made.locator(".prose code").count()) > 0, "commands");
});

test("nothing went wrong on any of these screens", () => {
  assert.deepEqual(wrong, []);
});
