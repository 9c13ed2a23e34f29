// What esbuild takes beside scripts: a stylesheet is imported for its effect.
declare module "*.css";
