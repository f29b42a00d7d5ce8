import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

// In development the page comes from Vite and /api from the development server (dev/server.mjs) or a running stack.
const api = process.env.CONSOLE_API ?? "http://127.0.0.1:5174";

/** The licences of what the built pages contain, whose texts must go where the pages go. */
function licences(): Plugin {
  const of = (folder: string) => readdirSync(folder).filter((name) => /^(licen[cs]e|notice)/i.test(name)).map((name) => readFileSync(join(folder, name), "utf8").trim());
  return {
    name: "licences",
    apply: "build",
    generateBundle() {
      const lock = JSON.parse(readFileSync("package-lock.json", "utf8")) as { packages: Record<string, { version: string; license?: string; dev?: boolean; optional?: boolean }> };
      const shipped = Object.entries(lock.packages).filter(([folder, found]) => folder !== "" && !found.dev && !found.optional);
      const texts = shipped.map(([folder, found]) => [`${folder.replace(/^.*node_modules\//, "")} ${found.version} (${found.license ?? "see below"})`, ...of(folder)].join("\n\n"));
      this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.join(`\n\n${"-".repeat(80)}\n\n`) });
    },
  };
}

export default defineConfig({
  plugins: [react(), licences()],
  build: { target: "es2022", sourcemap: false, assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 1000 },
  server: { port: 5173, strictPort: true, proxy: { "/api": api } },
});
