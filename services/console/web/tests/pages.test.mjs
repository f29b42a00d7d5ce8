// Each screen: no violation of WCAG 2.2 AA that axe can find, nothing on the console, no report of the content security policy,
// nothing wider than the window. SHOTS=DIR also writes pictures.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { browser, console_, page, settled, signIn, violations } from "./browser.mjs";

const ALL = process.env.CONSOLE === "all";
const SHOTS = process.env.SHOTS;
const SCREENS = [
  ["overview", "/"],
  ["queue", "/queue"],
  ["decisions", "/decisions"],
  ["decision", "a decision"],
  ["cases", "/cases"],
  ["case", "a case"],
  ["links", "links"],
  ["rules", "/rules"],
  ["rules-edit", "/rules?view=edit"],
  ["lists", "/lists"],
  ["list", process.env.CONSOLE_URL ? "/lists" : "/lists/stolen-devices"],
  ["models", "/models"],
  ["model", process.env.CONSOLE_MODEL ? `/models/${process.env.CONSOLE_MODEL}` : "/models/1.5.0?compare=1"],
  ["rollout", "/rollout"],
  ["drift", "/drift?feature=card_sum_24h"],
  ["performance", "/performance"],
  ["oncall", "/oncall"],
  ["runbook", "/oncall/runbooks/ConsumerLagGrowing"],
  ["dead-letters", "/dead-letters"],
  ["people", "/admin"],
  ["keys", "/admin?view=keys"],
  ["audit", "/admin?view=audit"],
  ["absent", "/nowhere"],
];
/** looked at in the second look too, when not all are */
const SAMPLE = ["overview", "queue", "decision", "case", "links", "list", "rollout", "oncall"];
/** theme and width in pixels; CONSOLE_LOOK="dark-360 light-3840" names others */
const LOOKS = (process.env.CONSOLE_LOOK ?? `light-1440 dark-390${ALL ? " light-360 dark-1280 light-1920 dark-3840 light-3840" : ""}`).split(" ").map((look) => [look.split("-")[0], Number(look.split("-")[1])]);

let server;
let chrome;
before(async () => {
  server = await console_();
  chrome = await browser();
  if (SHOTS) mkdirSync(SHOTS, { recursive: true });
});
after(async () => {
  await chrome?.close();
  server?.end();
});

for (const [theme, width] of LOOKS) {
  test(`every screen, ${theme}, ${width} px wide`, async (t) => {
    const { page: made, wrong, close } = await page(chrome, server.url, { theme, width, height: width < 800 ? 844 : width > 3000 ? 2160 : 900 });
    await made.goto("/");
    await made.getByLabel("Name").waitFor();
    assert.deepEqual(await violations(made), [], "login");
    if (SHOTS) await made.screenshot({ path: join(SHOTS, `login-${theme}-${width}.png`) });
    await signIn(made);
    for (const [name, path] of SCREENS.filter(([one]) => ALL || width > 800 || SAMPLE.includes(one))) {
      await t.test(name, async () => {
        await made.goto(path?.startsWith("/") ? path : await OF_DATA[name](made));
        await settled(made);
        if (name === "queue" && width > 800) await made.keyboard.press("j");
        if (SHOTS) {
          await made.waitForTimeout(1_500); // curves are drawn
          await made.screenshot({ path: join(SHOTS, `${name}-${theme}-${width}.png`) });
        }
        assert.deepEqual(await violations(made), []);
        assert.ok(await made.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "wider than the window");
        assert.deepEqual(wrong, []);
      });
    }
    await close();
  });
}

/** addresses of screens about one thing that is there */
const OF_DATA = { decision: aDecision, case: aCase, links: async (made) => `/links?kind=card&id=${encodeURIComponent(await aCard(made))}` };

/** a card whose payments share a device with others, or any */
async function aCard(made) {
  await made.goto("/queue");
  await settled(made);
  return made.evaluate(async () => {
    const { rows } = await (await fetch("/api/v1/queue?limit=200")).json();
    return (rows.find((row) => row.device_id !== null && row.card_id.startsWith("card")) ?? rows[0])?.card_id ?? "none";
  });
}

async function aCase(made) {
  const card = await aCard(made);
  return made.evaluate(async (id) => {
    const asked = { entities: [{ kind: "card", id }], title: "A card that pays everywhere", why: "7 payments in an hour" };
    const found = await (await fetch("/api/v1/cases", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) })).json();
    return `/cases/${found.case}`;
  }, card);
}

async function aDecision(made) {
  await made.goto("/queue");
  await settled(made);
  const id = await made.evaluate(async () => (await (await fetch("/api/v1/queue?limit=40")).json()).rows.find((row, at, rows) => row.rules.length > 0 || at === rows.length - 1)?.transaction_id);
  return `/decisions/${encodeURIComponent(id ?? "none")}`;
}
