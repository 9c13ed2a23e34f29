/** Starts the page. */
import { render } from "preact";
import "./style/tokens.css";
import "./style/base.css";
import "./style/parts.css";
import "./style/controls.css";
import "./style/states.css";
import "./style/dialog.css";
import "./style/shell.css";
import "./style/charts.css";
import "./style/jobs.css";
import "./style/job_list.css";
import "./style/run.css";
import "./style/run_tabs.css";
import "./style/pairs.css";
import "./style/train.css";
import "./style/losses.css";
import "./style/compare.css";
import "./style/cache.css";
import { keepStreaming } from "./api/stream";
import { takeTokenFromAddress } from "./api/token";
import { App } from "./shell/app";
import { keepKeys } from "./shell/keys";
import { keepTheme } from "./shell/theme";
import { keepStatus } from "./stores/status";

keepTheme();
takeTokenFromAddress();
addEventListener("hashchange", takeTokenFromAddress);
keepKeys();
keepStreaming();
keepStatus();

const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no element with the id app");
render(<App />, root);
