// Cases, links and lists: from a payment to its ring, to a case, to labels and a list, and what is wrong with a CSV.

import assert from "node:assert/strict";
import { settled, signedInTest, violations } from "./browser.mjs";

const each = signedInTest();

const alone = { skip: process.env.CONSOLE_URL !== undefined };
const dialog = (made) => made.getByRole("dialog");

each("from a payment to what it shares, to a case, to labels for many", alone, async (made, wrong) => {
  await made.goto("/queue");
  await settled(made);
  const card = await made.evaluate(async () => (await (await fetch("/api/v1/queue?limit=400")).json()).rows.find((row) => row.device_id && row.card_id.startsWith("card-")).card_id);
  await made.goto(`/links?kind=card&id=${card}`);
  await settled(made);
  const table = made.getByRole("table");
  const rows = await table.getByRole("checkbox").count();
  assert.ok(rows > 3);
  // the picture has what the table has, and the start
  assert.equal(await made.locator(".links > svg .node").count(), rows + 1);
  await made.getByLabel("address", { exact: true }).uncheck();
  assert.ok((await table.getByRole("checkbox").count()) < rows);
  assert.equal(await made.locator(".links > svg .node").count(), (await table.getByRole("checkbox").count()) + 1);
  await made.getByLabel("As it was").press("Home");
  await made.locator("output").getByText(":").waitFor();
  assert.ok((await table.getByRole("checkbox").count()) < rows);
  await made.getByLabel("As it was").press("End");
  await table.getByRole("checkbox").first().check();
  await made.getByRole("button", { name: /^Open 2 as a case/ }).click();
  assert.deepEqual(await violations(made), []);
  await dialog(made).getByLabel("Title").fill("A ring");
  await dialog(made).getByLabel("Reason").fill("they share a device");
  await dialog(made).getByRole("button", { name: "Open the case" }).click();
  await made.waitForURL("**/cases/1");
  await settled(made);
  await made.getByText("they share a device").waitFor();
  await made.getByLabel("Select all").check();
  await made.getByRole("button", { name: "Fraud …" }).click();
  await dialog(made).getByLabel("Reason").fill("all of one hand");
  await dialog(made).getByRole("button", { name: /^Label \d+ as fraud/ }).click();
  await made.locator(".toast").getByText("labelled as fraud").waitFor();
  await made.locator(".history").getByText("all of one hand").waitFor();
  assert.ok((await made.locator("tbody .tag.bad").count()) > 0);
  await made.keyboard.press("u");
  await made.locator(".toast").getByText("Undone.").waitFor();
  await made.getByLabel("Note").fill("<img src=x onerror=alert(1)>");
  await made.getByRole("button", { name: "Add note" }).click();
  await made.locator(".history").getByText("<img src=x").waitFor();
  await made.getByRole("button", { name: "Close …" }).click();
  await dialog(made).getByLabel("Reason").fill("done");
  await dialog(made).getByRole("button", { name: "Close" }).last().click();
  await made.getByText("closed: fraud").waitFor();
  assert.equal(await made.getByRole("button", { name: "Fraud …" }).getAttribute("aria-disabled"), "true");
  assert.deepEqual(wrong, []);
});

each("a case goes to a colleague, and its card to a list that somebody else approves", alone, async (made, wrong) => {
  await made.goto("/cases");
  await settled(made);
  await made.getByRole("button", { name: "Open a case …" }).click();
  await dialog(made).getByLabel("Kind").selectOption("device");
  await dialog(made).getByLabel("Identifier").fill("d-5");
  await dialog(made).getByRole("button", { name: "Go on" }).click();
  await dialog(made).getByLabel("Reason").fill("nine cards on it");
  await dialog(made).getByRole("button", { name: "Open the case" }).click();
  await made.waitForURL("**/cases/1");
  await made.getByRole("button", { name: "Escalate …" }).click();
  await dialog(made).getByLabel("Colleague").fill("ben");
  await dialog(made).getByLabel("Reason").fill("above my limit");
  await dialog(made).getByRole("button", { name: "Escalate" }).click();
  await made.locator(".toast").getByText("ben has case 1 now").waitFor();
  await made.getByRole("link", { name: "Put on a list" }).click();
  await made.getByText("On which list shall").waitFor();
  await made.getByRole("link", { name: "stolen-devices" }).click();
  await settled(made);
  assert.equal(await made.getByLabel("Entries as CSV").inputValue(), "value\nd-5\n");
  await made.getByRole("button", { name: "What would it do?" }).click();
  await made.getByText("1 new, 214 stay.").waitFor();
  await made.getByRole("button", { name: "Propose …" }).click();
  await dialog(made).getByLabel("Reason").fill("case 1");
  await dialog(made).getByRole("button", { name: "Propose" }).click();
  await made.locator(".toast").getByText("awaits approval by somebody else").waitFor();
  await made.goto("/cases/1");
  await made.locator(".history").getByText("proposed to add d-5, list stolen-devices").waitFor();
  assert.deepEqual(wrong, []);
});

each("what is wrong with a CSV is said before anything is proposed", alone, async (made, wrong) => {
  await made.goto("/lists/stolen-devices");
  await settled(made);
  const propose = made.getByRole("button", { name: "Propose …" });
  assert.match(await propose.getAttribute("title"), /See first/);
  const look = async (csv) => {
    await made.getByLabel("Entries as CSV").fill(csv);
    await made.getByRole("button", { name: "What would it do?" }).click();
  };
  await look("device\nd-1\n");
  await made.getByText("must begin with the names of its columns").waitFor();
  assert.match(await propose.getAttribute("title"), /has errors/);
  await look("value,expires\nd-1,tomorrow\n");
  await made.getByText("line 2").waitFor();
  assert.deepEqual(await violations(made), []);
  await made.getByLabel("Or from a file").setInputFiles({ name: "stolen.csv", mimeType: "text/csv", buffer: Buffer.from("value\nd-1\nd-900\n") });
  await made.waitForFunction(() => document.querySelector("textarea.code")?.value.includes("d-900"));
  await made.getByRole("button", { name: "What would it do?" }).click();
  await made.getByText("1 new, 1 changed").waitFor();
  assert.equal(await propose.getAttribute("aria-disabled"), null);
  await made.getByRole("button", { name: "Edit these" }).click();
  assert.equal((await made.getByLabel("Entries as CSV").inputValue()).split("\n").length, 215);
  assert.deepEqual(wrong, []);
});
