/** Buttons and links that look like them. */
import type { ComponentChildren } from "preact";
import { Icon, type IconName } from "./icons";

interface ButtonProps {
  children?: ComponentChildren;
  onClick?: () => void;
  icon?: IconName;
  /** What it does, where no text says it. */
  label?: string;
  tone?: "primary" | "danger" | "plain";
  disabled?: boolean;
  submit?: boolean;
  title?: string;
}

export function Button({ children, onClick, icon, label, tone, disabled, submit, title }: ButtonProps) {
  return (
    <button type={submit ? "submit" : "button"} class={`button ${tone ?? ""}`} onClick={onClick} disabled={disabled} aria-label={label} title={title ?? label}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}
