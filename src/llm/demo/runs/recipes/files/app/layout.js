import "./globals.css";

export const metadata = {
  title: "Larder: what can I cook tonight?",
  description: "A small recipe book that starts from what you have.",
};

export const viewport = { width: "device-width", initialScale: 1 };

export default function Layout({ children }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
