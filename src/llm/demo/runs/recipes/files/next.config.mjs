/** @type {import("next").NextConfig} */
export default {
  // The preview has an address of its own; without this the dev server refuses its hot reload.
  allowedDevOrigins: ["*.localhost"],
  devIndicators: false,
};
