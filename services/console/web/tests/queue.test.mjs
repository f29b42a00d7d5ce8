// An analyst's work without a mouse, and what must hold while it is done.

import assert from "node:assert/strict";
import { console_, NAME, page, settled, signedInTest, signIn, violations } from "./browser.mjs";
import { NASTY } from "../dev/data.mjs";

const ALL = process.env.CONSOLE === "all";
const each = signedInTest();
/** what only the stand-in has */
const alone = { skip: process.env.CONSOLE_URL !== undefined };

const chosen = (made) => made.locator('[role="row"][aria-selected="true"]');
const toQueue = async (made) => {
  await made.goto("/queue");
  await settled(made);
};

each("sign in, go to the queue, take, label, undo, label, go on: by keyboard alone", {}, async (made, wrong) => {
  await made.keyboard.press("Control+k");
  await made.keyboard.type("queue");
  await made.getByRole("option", { name: "Queue", exact: false }).first().waitFor();
  await made.keyboard.press("Enter");
  await made.waitForURL("**/queue");
  await settled(made);
  await made.keyboard.press("n");
  await chosen(made).getByText("yours").waitFor();
  const first = await chosen(made).locator("input").getAttribute("aria-label");
  await made.keyboard.press("f");
  await made.locator(".toast").getByText("fraud").waitFor();
  await made.waitForFunction((label) => document.querySelector('[role="row"][aria-selected="true"] input')?.getAttribute("aria-label") !== label, first);
  await made.keyboard.press("u");
  await made.locator(".toast").getByText("Undone.").waitFor();
  assert.equal(await chosen(made).locator("input").getAttribute("aria-label"), first);
  assert.equal(await chosen(made).getByText("fraud", { exact: true }).count(), 0);
  await made.keyboard.press("g");
  await made.locator(".toast").getByText("genuine").waitFor();
  await made.keyboard.press("j");
  await made.keyboard.press("k");
  await made.keyboard.press("Enter");
  await made.waitForURL("**/decisions/*");
  await settled(made);
  for (const name of ["Where its time went", "Where it comes from", "Make it again", "By today's model and rules"]) {
    await made.getByRole("button", { name }).press("Enter");
    await settled(made);
    assert.deepEqual(await violations(made), [], name);
  }
  await made.getByRole("button", { name: "Most unusual first" }).press("Enter");
  assert.match(await made.getByRole("table").filter({ hasText: "The card before" }).locator("tbody tr").first().innerText(), /above|below/);
  assert.deepEqual(wrong, []);
});

each("several at once: the count first, then one undo for all", {}, async (made) => {
  await toQueue(made);
  for (const key of ["j", "x", "j", "x", "j", "x"]) await made.keyboard.press(key);
  await made.locator(".announce").getByText("3 selected").waitFor();
  await made.getByRole("button", { name: "Fraud …" }).click();
  await made.getByRole("button", { name: "Label 3 as fraud" }).click();
  await made.locator(".toast").getByText("3 labelled as fraud").waitFor();
  assert.equal(await made.locator(".item.done").count(), 3);
  // while the dialog goes, keys are its own
  await made.getByRole("dialog").waitFor({ state: "detached" });
  await made.keyboard.press("u");
  await made.locator(".toast").getByText("Undone.").waitFor();
  assert.equal(await made.locator(".item.done").count(), 0);
});

each("what a colleague holds is not labelled, and says who holds it", {}, async (made) => {
  await toQueue(made);
  await made.locator('[role="row"]', { hasText: "ben" }).first().click();
  await made.keyboard.press("f");
  await made.locator(".toast.bad").getByText("ben holds it").waitFor();
});

each("new reviews are announced where they fit the filters, and nothing moves until they are asked for", alone, async (made) => {
  await toQueue(made);
  const first = await made.locator('[role="row"].item').first().innerText();
  const arrive = () => made.evaluate(() => fetch("/api/v1/dev/arrive", { method: "POST" }));
  for (let n = 0; n < 2; n++) await arrive();
  await made.locator(".announce").getByText("2 new since the list was read.").waitFor();
  assert.equal(await made.locator('[role="row"].item').first().innerText(), first);
  await made.getByRole("button", { name: "Read again" }).click();
  await made.locator(".announce").waitFor({ state: "detached" });
  await made.getByLabel("Rule or list").fill("no-such-rule");
  await made.getByText("Nothing fits these filters").waitFor();
  const told = made.waitForResponse((response) => response.url().includes("after="));
  await arrive();
  await told;
  assert.equal(await made.locator(".announce").count(), 0);
});

each("what a colleague has labelled meanwhile is not labelled over, and says so", alone, async (made) => {
  await toQueue(made);
  await made.keyboard.press("j");
  const id = (await chosen(made).locator("input").getAttribute("aria-label")).replace("Select ", "");
  await made.evaluate((name) => fetch(`/api/v1/queue/${name}/label`, { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"label":"legit"}' }), id);
  await made.keyboard.press("f");
  await made.locator(".toast.bad").getByText("has labelled it already").waitFor();
  await chosen(made).getByText("genuine").waitFor();
});

each("a review is handed over to a colleague whose name is offered", alone, async (made) => {
  await toQueue(made);
  await made.keyboard.press("n");
  await chosen(made).getByText("yours").waitFor();
  await made.keyboard.press("e");
  await made.locator("datalist option[value=dora]").waitFor({ state: "attached" });
  await made.keyboard.type("dora");
  await made.keyboard.press("Enter");
  await made.locator(".toast").getByText("dora holds").waitFor();
  await chosen(made).getByText("dora").waitFor();
});

each("single keys can be switched off and given other letters", {}, async (made) => {
  await toQueue(made);
  await made.keyboard.press("?");
  await made.getByRole("dialog").waitFor();
  assert.deepEqual(await violations(made), []);
  await made.getByLabel("Key for: Take the next review").press("w");
  await made.keyboard.press("Escape");
  await made.keyboard.press("n");
  await made.keyboard.press("w");
  await chosen(made).getByText("yours").waitFor();
  assert.equal(await made.getByText("yours", { exact: true }).count(), 1);
  await made.keyboard.press("?");
  await made.getByLabel("Single keys are on").uncheck();
  await made.keyboard.press("Escape");
  await made.getByRole("dialog").waitFor({ state: "detached" });
  await made.keyboard.press("?");
  assert.equal(await made.getByRole("dialog").count(), 0);
});

each("a key pressed in a field is text", {}, async (made) => {
  await toQueue(made);
  await made.keyboard.press("/");
  await made.keyboard.type("jfng");
  assert.equal(await made.evaluate(() => document.activeElement.value), "jfng");
  assert.match(made.url(), /rule=jfng/);
  await made.getByText("Nothing fits these filters").waitFor();
  assert.equal(await made.locator(".toast").count(), 0);
});

each("a session that ends in the middle of an action asks to sign in, and returns to the same page", {}, async (made) => {
  await toQueue(made);
  await made.keyboard.press("j");
  await made.evaluate(() => fetch("/api/v1/session", { method: "DELETE" }));
  await made.keyboard.press("f");
  await made.getByLabel("Password").waitFor();
  assert.match(made.url(), /\/queue$/);
  await made.getByLabel("Name").fill(NAME);
  await made.getByLabel("Password").fill("correct horse battery staple");
  await made.keyboard.press("Enter");
  await made.locator(".rows").waitFor();
  assert.match(made.url(), /\/queue$/);
});

each("scripts, emoji and right-to-left names of producers are text everywhere", alone, async (made, wrong) => {
  await toQueue(made);
  const ids = await made.evaluate(async (nasty) => (await (await fetch("/api/v1/queue?limit=420")).json()).rows.map((row) => row.transaction_id).filter((id) => nasty.some((text) => id.startsWith(text))), NASTY);
  assert.ok(ids.length >= NASTY.length);
  for (const id of ids.slice(0, NASTY.length)) {
    await made.goto(`/decisions/${encodeURIComponent(id)}`);
    await settled(made);
    assert.ok((await made.locator("#screen h2").first().textContent()).includes(id));
    assert.equal(await made.locator("img[src=x], #screen script").count(), 0);
  }
  await made.goto("/dead-letters");
  await settled(made);
  await made.getByText("<b>tx-9</b>").waitFor();
  assert.deepEqual(wrong, []);
});

each("a role that may not act sees why", alone, async (made) => {
  await made.getByRole("button", { name: "Sign out" }).click();
  await made.getByLabel("Name").fill("clara-approver");
  await made.getByLabel("Password").fill("correct horse battery staple");
  await made.keyboard.press("Enter");
  await made.getByRole("navigation", { name: "Screens" }).waitFor();
  await toQueue(made);
  const take = made.getByRole("button", { name: "Take next" });
  assert.equal(await take.getAttribute("aria-disabled"), "true");
  assert.match(await take.getAttribute("title"), /may not label/);
  await made.keyboard.press("j");
  await made.keyboard.press("f");
  await made.locator(".toast.bad").getByText("may not label").waitFor();
  await made.getByRole("button", { name: "Emergency …" }).click();
  assert.deepEqual(await violations(made), []);
  await made.getByRole("dialog").getByLabel("Reason").fill("everybody else is ill");
  await made.getByRole("button", { name: "Take them for 30 min" }).click();
  await made.getByText("beyond your role. It has paged").waitFor();
  await made.keyboard.press("f");
  await made.locator(".toast").getByText(": fraud").waitFor();
});

each("a refusal of four eyes is shown in its own words, and the reason typed stays", alone, async (made) => {
  await made.goto("/models");
  await settled(made);
  await made.getByRole("button", { name: "Approve" }).click();
  await made.getByLabel("Reason").fill("please refuse");
  await made.getByRole("dialog").getByRole("button", { name: "Approve" }).click();
  await made.getByText("somebody else must approve it").waitFor();
  assert.equal(await made.getByLabel("Reason").inputValue(), "please refuse");
});

each("100,000 reviews: a key is answered within 100 ms", { skip: !ALL || process.env.CONSOLE_URL !== undefined }, async (_made, _wrong, chrome) => {
  const large = await console_(100_000);
  const other = await page(chrome, large.url);
  try {
    await signIn(other.page);
    await other.page.goto("/queue");
    await settled(other.page);
    const took = await other.page.evaluate(async () => {
      const frame = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
      const out = [];
      for (let press = 0; press < 60; press++) {
        const begin = performance.now();
        dispatchEvent(new KeyboardEvent("keydown", { key: "j", bubbles: true, cancelable: true }));
        await frame();
        out.push(performance.now() - begin);
      }
      return out.sort((a, b) => a - b);
    });
    console.log(`a key: median ${took[30].toFixed(0)} ms, slowest ${took[59].toFixed(0)} ms`);
    assert.ok(took[57] < 100, `p95 ${took[57]} ms`);
  } finally {
    await other.close();
    large.end();
  }
});

each("a rule is written with completion, tested on the past, and proposed with its difference", alone, async (made, wrong) => {
  await made.goto("/rules?view=edit");
  await settled(made);
  const text = made.getByLabel("Policy as TOML");
  await text.press("Control+End");
  await text.pressSequentially('\n[[rules]]\nname = "many"\nwhen = "card_co');
  await made.locator(".completions").getByText("card_count_1h").waitFor();
  await text.press("Tab");
  await text.pressSequentially(' >= 9"\naction = "review"\nowner = "anna"\nreason = "many"\n');
  assert.match(await text.inputValue(), /when = "card_count_1h >= 9"/);
  await made.getByText("Valid.").waitFor();
  await made.getByRole("button", { name: "Test on archived payments" }).click();
  await made.getByText("approve to review").first().waitFor();
  await made.getByText("Payments that it would have decided differently").click();
  assert.ok((await made.getByRole("table").last().getByRole("link").count()) > 3);
  await made.getByRole("button", { name: "Propose …" }).click();
  await made.getByRole("dialog").getByText('name = "many"').waitFor();
  assert.deepEqual(await violations(made), []);
  await made.getByLabel("Reason").fill("cash-out");
  await made.getByRole("dialog").getByRole("button", { name: "Propose" }).click();
  await made.locator(".toast").getByText("awaits approval").waitFor();
  assert.deepEqual(wrong, []);
});
