import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// In development the page comes from Vite and /api from the development server (dev/server.mjs) or a running stack.
const api = process.env.CONSOLE_API ?? "http://127.0.0.1:5174";

export default defineConfig({
  plugins: [react()],
  build: { target: "es2022", sourcemap: false, assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 1000 },
  server: { port: 5173, strictPort: true, proxy: { "/api": api } },
});
