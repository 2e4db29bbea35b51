//! `#[derive(FromJson)]`: reads a type from a JSON value in a few calls of shared functions.
//!
//! serde's readers are made for speed and any format, and compile to kilobytes for each type; in the browser's download
//! that was a sixth. This derive reads the same form, named by the same `#[serde(...)]` attributes, which stay the only
//! definition of it. It knows what this repository uses (`rename_all`, `rename`, `default`, outer enum tags) and refuses
//! the rest at compile time.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, FieldsNamed, Ident, LitStr, Result, Variant, parse_macro_input,
};

/// Implements `domain::FromJson`.
#[proc_macro_derive(FromJson, attributes(serde))]
pub fn from_json(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

fn expand(input: &DeriveInput) -> Result<Tokens> {
    let name = &input.ident;
    let container = Options::read(&input.attrs)?;
    let body = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => {
                let fields = named(fields, container.rename_all)?;
                quote! {
                    let mut fields = crate::domain::json::fields(value)?;
                    Ok(Self { #fields })
                }
            }
            _ => return Err(Error::new_spanned(name, "FromJson reads structs with named fields")),
        },
        Data::Enum(data) => {
            let arms =
                data.variants.iter().map(|variant| arm(variant, container.rename_all)).collect::<Result<Vec<_>>>()?;
            quote! {
                let (tag, value) = crate::domain::json::variant(value)?;
                match tag.as_str() {
                    #(#arms)*
                    _ => Err(crate::domain::json::Unread(stringify!(#name))),
                }
            }
        }
        Data::Union(_) => return Err(Error::new_spanned(name, "FromJson does not read unions")),
    };
    Ok(quote! {
        impl crate::domain::json::FromJson for #name {
            fn from_json(value: ::serde_json::Value) -> ::std::result::Result<Self, crate::domain::json::Unread> {
                #body
            }
        }
    })
}

fn arm(variant: &Variant, case: Case) -> Result<Tokens> {
    let name = &variant.ident;
    let options = Options::read(&variant.attrs)?;
    let tag = options.rename.unwrap_or_else(|| case.variant(name));
    Ok(match &variant.fields {
        Fields::Unit => quote! { #tag => { let _ = value; Ok(Self::#name) } },
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
            quote! { #tag => Ok(Self::#name(crate::domain::json::FromJson::from_json(value)?)), }
        }
        Fields::Named(fields) => {
            // Fields of variants are not renamed by the container, as in serde.
            let fields = named(fields, options.rename_all)?;
            quote! { #tag => { let mut fields = crate::domain::json::fields(value)?; Ok(Self::#name { #fields }) } }
        }
        Fields::Unnamed(_) => {
            return Err(Error::new_spanned(name, "FromJson reads variants of one value or named fields"));
        }
    })
}

fn named(fields: &FieldsNamed, case: Case) -> Result<Tokens> {
    let reads = fields.named.iter().map(|field| {
        let Some(ident) = &field.ident else { return Err(Error::new_spanned(field, "a field needs a name")) };
        let options = Options::read(&field.attrs)?;
        let key = options.rename.unwrap_or_else(|| case.field(ident));
        let read = if options.default { quote!(field_or_default) } else { quote!(field) };
        Ok(quote! { #ident: crate::domain::json::#read(&mut fields, #key)?, })
    });
    reads.collect()
}

/// What `#[serde(...)]` says, as far as reading is concerned.
#[derive(Default)]
struct Options {
    rename_all: Case,
    rename: Option<String>,
    default: bool,
}

impl Options {
    fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("rename_all") {
                    options.rename_all = Case::parse(&meta.value()?.parse::<LitStr>()?)?;
                } else if meta.path.is_ident("rename") {
                    options.rename = Some(meta.value()?.parse::<LitStr>()?.value());
                } else if meta.path.is_ident("default") {
                    options.default = true;
                } else if meta.path.is_ident("skip_serializing_if") {
                    // Only of writing.
                    meta.value()?.parse::<LitStr>()?;
                } else {
                    return Err(meta.error("FromJson does not know this attribute"));
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}

/// How names are written.
#[derive(Clone, Copy, Default)]
enum Case {
    #[default]
    AsIs,
    Snake,
    ScreamingSnake,
}

impl Case {
    fn parse(text: &LitStr) -> Result<Self> {
        match text.value().as_str() {
            "snake_case" => Ok(Self::Snake),
            "SCREAMING_SNAKE_CASE" => Ok(Self::ScreamingSnake),
            _ => Err(Error::new_spanned(text, "FromJson does not know this case")),
        }
    }

    fn variant(self, name: &Ident) -> String {
        let name = name.to_string();
        let snake = || {
            let mut out = String::new();
            for (at, letter) in name.chars().enumerate() {
                if letter.is_uppercase() && at > 0 {
                    out.push('_');
                }
                out.extend(letter.to_lowercase());
            }
            out
        };
        match self {
            Self::AsIs => name,
            Self::Snake => snake(),
            Self::ScreamingSnake => snake().to_uppercase(),
        }
    }

    fn field(self, name: &Ident) -> String {
        let name = name.to_string();
        let name = name.strip_prefix("r#").unwrap_or(&name);
        match self {
            Self::AsIs | Self::Snake => name.to_owned(),
            Self::ScreamingSnake => name.to_uppercase(),
        }
    }
}
