/** The page: bars, the screen that the address names, and what lies above it. */
import { LocationProvider, Route, Router } from "preact-iso";
import { locked } from "../api/token";
import { useAddress } from "../address";
import { ConfirmDialog } from "../parts/confirm";
import { Empty } from "../parts/empty";
import { Toasts } from "../parts/toast";
import { SCREENS } from "../screens";
import { FailureBound } from "./failure";
import { Help, helpOpen } from "./help";
import { useKeys } from "./keys";
import { Locked } from "./locked";
import { toggleTheme } from "./theme";
import { linkTo, ScreenLinks, TopBar } from "./topbar";

export function App() {
  return (
    <LocationProvider>
      <TopBar />
      <GlobalKeys />
      {locked.value ? <Locked /> : <Screens />}
      <ScreenLinks className="bottom" label="Screens, at the bottom" />
      <Help />
      <ConfirmDialog />
      <Toasts />
    </LocationProvider>
  );
}

function Screens() {
  const { path } = useAddress();
  return (
    <main class="screen">
      <FailureBound key={path.split("/")[1]}>
        <Router>
          {SCREENS.map((each) => (
            <Route key={each.path} path={each.path} component={each.component} />
          ))}
          <Route default component={NoScreen} />
        </Router>
      </FailureBound>
    </main>
  );
}

function GlobalKeys() {
  const { go } = useAddress();
  useKeys("Everywhere", [
    ...SCREENS.filter((each) => each.name && each.key).map((each) => ({ keys: `g ${each.key}`, text: each.name!, act: () => go(linkTo(each.path)) })),
    { keys: "t", text: "light or dark", act: toggleTheme },
    { keys: "?", text: "these keys", act: () => (helpOpen.value = true) },
  ]);
  return null;
}

function NoScreen() {
  return (
    <Empty title="There is no such screen">
      <p>
        <a class="button" href="/">
          To the jobs
        </a>
      </p>
    </Empty>
  );
}
