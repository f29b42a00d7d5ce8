// One Chromium for a file of tests, against the development server with the built pages, or against a running stack:
// CONSOLE_URL is its address, CONSOLE_NAME and CONSOLE_PASSWORD somebody who may sign in there.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { chromium } from "playwright-core";

const HERE = import.meta.dirname;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
export const NAME = process.env.CONSOLE_NAME ?? "anna-operator";
const PASSWORD = process.env.CONSOLE_PASSWORD ?? "correct horse battery staple";

const freePort = () =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });

/** The console's address and how to end what was started for it. */
export async function console_(rows = 420) {
  if (process.env.CONSOLE_URL) return { url: process.env.CONSOLE_URL, end: () => undefined };
  const port = await freePort();
  const server = spawn(process.execPath, [join(HERE, "..", "dev", "server.mjs"), "--dist", "--port", String(port), "--rows", String(rows)], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve, reject) => {
    server.stdout.once("data", resolve);
    server.once("exit", (code) => reject(new Error(`the development server ended with ${code}`)));
  });
  return { url: `http://127.0.0.1:${port}`, end: () => server.kill() };
}

export const browser = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });

/** A page that notes what must not happen: errors on the console, reports of the content security policy, dialogs of scripts. */
export async function page(chrome, url, { width = 1440, height = 900, theme = "light" } = {}) {
  const context = await chrome.newContext({ viewport: { width, height }, colorScheme: theme, locale: "en-GB", timezoneId: "Europe/Paris", baseURL: url });
  const made = await context.newPage();
  made.setDefaultTimeout(20_000);
  const wrong = [];
  // the browser itself reports every answer of 400 and above as an error of the console: those are the API's answers, which screens show
  made.on("console", (message) => message.type() === "error" && !message.text().startsWith("Failed to load resource") && wrong.push(message.text()));
  made.on("pageerror", (error) => wrong.push(String(error)));
  made.on("dialog", (dialog) => {
    wrong.push(`a script opened a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await made.addInitScript(() => document.addEventListener("securitypolicyviolation", (event) => console.error(`content security policy: ${event.violatedDirective} ${event.blockedURI}`)));
  return { page: made, wrong, close: () => context.close() };
}

export async function signIn(made) {
  await made.goto("/");
  await made.getByLabel("Name").fill(NAME);
  await made.getByLabel("Password").fill(PASSWORD);
  await made.keyboard.press("Enter");
  await made.locator("#screen").waitFor();
}

/** Wait until nothing on the screen says that it loads. */
export async function settled(made) {
  await made.locator("#screen").waitFor();
  await made.waitForFunction(() => !/\bLoading\b/.test(document.querySelector("#screen")?.textContent ?? ""), null, { timeout: 60_000 });
  await made.evaluate(() => document.fonts.ready);
}

/** What axe finds against WCAG 2.2 AA: rule and place, one a line. */
export async function violations(made) {
  await made.evaluate(AXE);
  const found = await made.evaluate((tags) => axe.run(document, { runOnly: { type: "tag", values: tags } }), WCAG);
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target} ${node.html.slice(0, 160)} (${node.failureSummary?.split("\n")[1]?.trim() ?? ""})`).join(" | ")}`);
}

/** As `test`, each with a server of its own and a page on which somebody has signed in; `act` gets the page and what went wrong on it. */
export function signedInTest() {
  let chrome;
  let server;
  let at;
  before(async () => {
    chrome = await browser();
  });
  after(() => chrome?.close());
  beforeEach(async () => {
    server = await console_();
    at = await page(chrome, server.url);
    await signIn(at.page);
  });
  afterEach(async () => {
    await at.close();
    server.end();
  });
  return (name, options, act) => test(name, options, () => act(at.page, at.wrong, chrome));
}
