import assert from "node:assert/strict";
import { test } from "node:test";
import { formatNumber } from "./numbers";

test("thousands are set apart, with and without a fraction", () => {
  assert.equal(formatNumber(12556.4), "12,556");
  assert.equal(formatNumber(-100000), "−100,000");
});

test("a huge number is a power of ten, whole or not", () => {
  assert.equal(formatNumber(1e38), "1e38");
  assert.equal(formatNumber(2.5e6 + 0.5), "2.5e6");
});
