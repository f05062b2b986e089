//! The `#[memoize]` attribute of the [`scrubjay`](https://docs.rs/scrubjay) crate.

use proc_macro::TokenStream;
use syn::ItemFn;

mod expand;
mod function;
mod options;
mod validate;

use function::Function;
use options::Options;

/// Memoizes a function.
#[proc_macro_attribute]
pub fn memoize(options: TokenStream, item: TokenStream) -> TokenStream {
    match memoized(options, item.clone()) {
        Ok(tokens) => tokens.into(),
        Err(error) => {
            // The function itself stays, so that nothing else in the program seems to be wrong.
            let mut tokens = TokenStream::from(error.into_compile_error());
            tokens.extend(item);
            tokens
        }
    }
}

fn memoized(options: TokenStream, item: TokenStream) -> syn::Result<proc_macro2::TokenStream> {
    let options: Options = syn::parse(options)?;
    let item: ItemFn = syn::parse(item).map_err(|error| {
        let message = format!("`#[memoize]` is for functions and methods that have a body: {error}");
        syn::Error::new(error.span(), message)
    })?;
    let function = Function::of(&item, &options);
    validate::validate(&function, &options)?;
    Ok(expand::expand(&function, &options))
}
