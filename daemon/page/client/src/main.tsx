// Starts the page.
import { render } from "preact";
import "./style.css";

function App() {
  return <main>prefd</main>;
}

const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no element with the id app");
render(<App />, root);
