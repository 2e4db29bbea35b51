import { Browser } from "./browser";
import { recipes } from "./recipes";

export default function Page() {
  return <Browser recipes={recipes} />;
}
