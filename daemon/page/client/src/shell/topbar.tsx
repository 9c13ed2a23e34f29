/** The bar at the top, and on a phone the one at the bottom. */
import { useAddress } from "../address";
import { Button } from "../parts/button";
import { Logo } from "../parts/icons";
import { SCREENS } from "../screens";
import { helpOpen } from "./help";
import { Pill } from "./pill";
import { theme, toggleTheme } from "./theme";

export function TopBar() {
  return (
    <header class="top">
      <a class="brand" href="/">
        <Logo />
        prefd
      </a>
      <ScreenLinks className="screens" label="Screens" />
      <Pill />
      <div class="tools">
        <Button tone="plain" icon="theme" label={theme.value === "dark" ? "Light" : "Dark"} onClick={toggleTheme} />
        <span class="keys-button">
          <Button tone="plain" label="Keys" onClick={() => (helpOpen.value = true)}>
            ?
          </Button>
        </span>
      </div>
    </header>
  );
}

export function ScreenLinks({ className, label }: { className: string; label: string }) {
  const { path } = useAddress();
  return (
    <nav class={className} aria-label={label}>
      {SCREENS.filter((each) => each.name).map((each) => (
        <a key={each.path} href={linkTo(each.path)} aria-current={isCurrent(each.path, path) ? "page" : undefined}>
          {each.name}
        </a>
      ))}
    </nav>
  );
}

/** The address of a screen without its parameters. */
export function linkTo(path: string): string {
  return path.replace(/\/:.*$/, "") || "/";
}

function isCurrent(screen: string, path: string): boolean {
  const root = linkTo(screen);
  return root === "/" ? path === "/" || path.startsWith("/jobs/") : path === root || path.startsWith(`${root}/`);
}
