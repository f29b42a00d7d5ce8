// Models side by side: the threshold moves what is stopped, how rightly, and what it costs.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, console_, page, settled, signIn, violations } from "./browser.mjs";

let server;
let chrome;
before(async () => {
  server = await console_();
  chrome = await browser();
});
after(async () => {
  await chrome?.close();
  server?.end();
});

test("two versions, a threshold that is moved by keyboard, and a cost", { skip: process.env.CONSOLE_URL !== undefined }, async () => {
  const { page: made, wrong, close } = await page(chrome, server.url);
  await signIn(made);
  await made.goto("/models");
  await settled(made);
  const compare = made.getByRole("button", { name: "Compare by threshold" });
  assert.match(await compare.getAttribute("title"), /Select up to four/);
  await made.getByLabel("Select 1.5.0").check();
  await made.getByLabel("Select 1.4.0").check();
  await compare.click();
  await settled(made);
  const row = made.getByRole("row", { name: /^1\.5\.0 / }).first();
  const figures = () => row.locator("td.number").allInnerTexts();
  const before = await figures();
  const slider = made.getByLabel("Stopped from a score of");
  for (let n = 0; n < 10; n++) await slider.press("ArrowRight");
  const moved = await figures();
  const value = (text) => Number(text.replace(/[^0-9.]/g, ""));
  assert.ok(value(moved[0]) < value(before[0]), "fewer are stopped");
  assert.ok(value(moved[1]) > value(before[1]), "more rightly");
  assert.ok(value(moved[2]) < value(before[2]), "fewer frauds are found");
  await made.getByLabel("A review costs", { exact: false }).fill("0");
  const free = await figures();
  assert.equal(free[4], free[3], "without a cost of reviews only what is missed counts");
  await made.getByLabel("at", { exact: true }).fill("2020-01-01T10:00");
  await made.getByText("No model was live then.").waitFor();
  const yesterday = new Date(Date.now() - 86_400_000).toISOString().slice(0, 16);
  await made.getByLabel("at", { exact: true }).fill(yesterday);
  await made.getByRole("row", { name: /^champion 1\.4\.0 95\.0 %/ }).waitFor();
  assert.match(made.url(), /at=/);
  assert.deepEqual(await violations(made), []);
  assert.deepEqual(wrong, []);
  await close();
});
