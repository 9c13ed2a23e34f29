/** Tabs that are links: each has an address of its own. */
import type { ComponentChildren } from "preact";

interface TabsProps {
  label: string;
  tabs: readonly { name: string; href: string; note?: string }[];
  current: string;
  children?: ComponentChildren;
}

export function Tabs({ label, tabs, current, children }: TabsProps) {
  return (
    <nav class="tabs" aria-label={label}>
      {tabs.map(({ name, href, note }) => (
        <a key={name} class="tab" href={href} aria-current={name === current ? "page" : undefined}>
          {name} {note && <span class="soft">{note}</span>}
        </a>
      ))}
      {children}
    </nav>
  );
}
