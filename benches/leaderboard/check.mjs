// Opens a page of `babil bench --leaderboard` in a headless browser, and fails where it asks for anything, complains, or has a
// plot without a size: node check.mjs PAGE [SCREENSHOT]. The browser is Debian's chromium, or what CHROMIUM names.
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [page, screenshot] = process.argv.slice(2);
if (!page || !existsSync(page)) {
  console.error("usage: node check.mjs PAGE [SCREENSHOT]");
  process.exit(2);
}
const places = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const executablePath = places.find((place) => place && existsSync(place));
if (!executablePath) {
  console.error("no chromium: apt-get install chromium, or name one in CHROMIUM");
  process.exit(2);
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const problems = [];
let plots = 0;
let tables = 0;
try {
  // A phone's and a desktop's width: nothing but tables may be wider than the window.
  for (const width of [390, 1280]) {
    const tab = await browser.newPage({ viewport: { width, height: 900 } });
    const own = pathToFileURL(resolve(page)).href;
    tab.on("request", (request) => request.url() !== own && problems.push(`asks for ${request.url()}`));
    tab.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    tab.on("pageerror", (error) => problems.push(String(error)));
    await tab.goto(own);
    const seen = await tab.evaluate(() => ({
      title: document.title,
      plots: [...document.querySelectorAll("svg")].map((svg) => {
        const { width, height } = svg.getBoundingClientRect();
        return { width, height, marks: svg.querySelectorAll("text, rect, line, polyline, circle").length };
      }),
      rows: [...document.querySelectorAll("table")].map((table) => table.tBodies[0].rows.length),
      wider: document.documentElement.scrollWidth > window.innerWidth,
    }));
    if (!seen.title) problems.push("no title");
    if (seen.wider) problems.push(`wider than a window of ${width} pixels`);
    if (seen.plots.length === 0) problems.push("no plots");
    if (seen.plots.some(({ width, height, marks }) => width < 100 || height < 50 || marks < 5)) problems.push("an empty plot");
    if (seen.rows.some((rows) => rows === 0)) problems.push("an empty table");
    plots = seen.plots.length;
    tables = seen.rows.length;
    if (screenshot && width === 1280) await tab.screenshot({ path: screenshot, fullPage: true });
    await tab.close();
  }
} finally {
  await browser.close();
}
for (const problem of new Set(problems)) console.error(`${page}: ${problem}`);
if (problems.length > 0) process.exit(1);
console.log(`${page}: ${plots} plots, ${tables} tables, nothing fetched`);
