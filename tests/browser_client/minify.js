/** Minifies a file of the browser's side: `node minify.js client.js` writes what a wheel holds to stdout. */

import { readFile } from "node:fs/promises";
import { minify } from "terser";

const BROWSER = new URL("../../qrsocket/browser/", import.meta.url);

export async function minified(name) {
  const source = await readFile(new URL(name, BROWSER), "utf8");
  const { code } = await minify(source, { module: true, ecma: 2022, compress: { passes: 3, pure_getters: true } });
  return code;
}

if (import.meta.main) process.stdout.write(await minified(process.argv[2]));
