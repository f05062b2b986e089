//! The memoized function, as tokens: a wrapper with the function's own signature, and the way to its cache.
//!
//! Invariant: the body sees what it would see without the attribute. Names of the wrapper's own are invisible to
//! it (`mixed_site`), and every path starts at a crate.

mod cache;
mod handle;
mod key;

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Block, Expr, ExprArray, Type};

use crate::function::{Arg, Function, Place, own_self, wrapper_signature};
use crate::options::Options;

/// Writes the memoized function.
pub fn expand(function: &Function<'_>, options: &Options) -> TokenStream {
    let expansion = Expansion { function, options };
    let wrapper = expansion.wrapper();
    let companion = match function.place {
        Place::Free => expansion.handle(),
        Place::Impl => expansion.cache_function(),
        Place::Trait => TokenStream::new(),
    };
    quote!(#wrapper #companion)
}

/// A function and its options, on their way into tokens.
struct Expansion<'a> {
    function: &'a Function<'a>,
    options: &'a Options,
}

/// A local name that the user's code cannot see.
fn hidden(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

impl Expansion<'_> {
    fn wrapper(&self) -> TokenStream {
        let item = self.function.item;
        let (attrs, vis, defaultness) = (&item.attrs, &item.vis, &item.modifiers.defaultness);
        let sig = wrapper_signature(self.function);
        let body = self.call();
        quote!(#(#attrs)* #vis #defaultness #sig { #body })
    }

    /// The body of the wrapper.
    fn call(&self) -> TokenStream {
        let [site, load, cache, asked, when] =
            ["__site", "__load", "__cache", "__asked", "__when"].map(hidden);
        let (site_value, load_value, tags) = (self.site(), self.load(), self.tags());
        let cache_value = self.cache();
        let test = self.options.when.as_ref().map(|test| {
            let test = self.in_terms_of_arguments(test);
            quote!(let #when: bool = #test;)
        });
        let (call, bypass, wait) = match self.function.is_async() {
            true => (quote!(call_async), quote!(bypass_async), quote!(.await)),
            false => (quote!(call), quote!(bypass), quote!()),
        };
        let bypass = test.is_some().then(|| {
            quote! {
                if !#when {
                    return ::scrubjay::__private::#bypass(#cache, &#site, #load)#wait;
                }
            }
        });
        let (parts, asked_value) = self.asked();
        let reveal = self.options.key.is_some().then(
            || quote!(let #cache = ::scrubjay::__private::reveal(#cache, #asked.key_type());),
        );
        quote! {
            #test
            let #site = #site_value;
            let #load = #load_value;
            let #cache = #cache_value;
            #bypass
            #parts
            let #asked = #asked_value;
            #reveal
            ::scrubjay::__private::#call(#cache, &#asked, &#site, #tags, #load)#wait
        }
    }

    /// What is known about the function where it is memoized.
    fn site(&self) -> TokenStream {
        let name = self.shown_name();
        let output = &self.function.output;
        let value = hidden("__value");
        let copy = ask(3, &quote!(#value), "copy", output.span());
        let failed = ask(2, &quote!(#value), "failed", output.span());
        let show = ask(2, &quote!(#value), "show", output.span());
        quote! {
            ::scrubjay::__private::Site {
                name: || #name,
                copy: |#value: &#output| #copy,
                failed: |#value: &#output| #failed,
                show: |#value: &#output| #show,
            }
        }
    }

    fn shown_name(&self) -> String {
        match &self.options.name {
            Some(name) => name.value(),
            None => self.function.name(),
        }
    }

    /// The function itself, as a closure without arguments.
    fn load(&self) -> TokenStream {
        let output = &self.function.output;
        if self.refreshes_in_background() {
            let (handle, load) = (self.handle_type(), hidden("__load"));
            let args = self.function.args.iter().map(Arg::passed);
            return quote!(|| -> #output { #handle::#load(#(#args),*) });
        }
        let lets = self.function.args.iter().map(Arg::bound);
        let block = self.block();
        if !self.function.is_async() {
            return quote!(|| -> #output { #(#lets)* #block });
        }
        quote! {
            || {
                #(#lets)*
                async move {
                    // Says what the block returns, which `?` in it must know.
                    #[allow(unreachable_code)]
                    if false {
                        return ::scrubjay::__private::never::<#output>();
                    }
                    #block
                }
            }
        }
    }

    /// The body, with another name for a `self` that is taken by value.
    fn block(&self) -> Block {
        let mut block = (*self.function.item.block).clone();
        if self
            .function
            .args
            .iter()
            .any(|arg| arg.is_self && arg.pattern.is_some())
        {
            RenameSelf.visit_block_mut(&mut block);
        }
        block
    }

    /// The tags of a value that is about to be loaded, as a closure without arguments.
    fn tags(&self) -> TokenStream {
        match self.tag_list() {
            Some(tags) => quote!(|| #tags),
            None => quote!(::std::vec::Vec::new),
        }
    }

    fn tag_list(&self) -> Option<TokenStream> {
        let tags = self.options.tags.as_ref()?;
        let list = match tags {
            // One by one, so that they need not be of one type.
            Expr::Array(ExprArray { elems, .. }) => {
                let each = elems
                    .iter()
                    .map(|tag| quote_spanned!(tag.span()=> ::scrubjay::__private::tag(#tag)));
                quote!(::std::vec![#(#each),*])
            }
            _ => quote_spanned!(tags.span()=> ::scrubjay::__private::tags(#tags)),
        };
        Some(self.with_bindings(tags, &list))
    }

    fn in_terms_of_arguments(&self, expr: &Expr) -> TokenStream {
        self.with_bindings(expr, &expr.to_token_stream())
    }

    /// Puts the patterns of the arguments that `mentioning` mentions before `tokens`.
    fn with_bindings(&self, mentioning: &Expr, tokens: &TokenStream) -> TokenStream {
        let mentioned: Vec<_> = (self.function.args.iter())
            .filter(|arg| arg.is_destructured() && arg.is_in(mentioning))
            .map(Arg::destructured)
            .collect();
        if mentioned.is_empty() {
            return tokens.clone();
        }
        quote!({ #(#mentioned)* #tokens })
    }

    /// Whether a stale entry is refreshed by running the function with the arguments in its key.
    fn refreshes_in_background(&self) -> bool {
        let options = self.options;
        (options.refresh.is_some() || options.stale_while_refresh.is_some())
            && self.function.place == Place::Free
            && !self.function.is_async()
            && options.key.is_none()
            && options.ignore.is_empty()
            && options.local.is_none()
    }
}

impl Arg {
    /// As the body wants it, made of what the wrapper has.
    fn bound(&self) -> TokenStream {
        let Some(pattern) = &self.pattern else {
            return TokenStream::new();
        };
        let value = self.passed();
        // Used in an option if not in the body.
        let allow = self
            .is_mentioned
            .then(|| quote!(#[allow(unused_variables)]));
        quote!(#allow let #pattern = #value;)
    }

    fn passed(&self) -> TokenStream {
        let name = &self.name;
        match self.is_cloned {
            true => {
                let clone = quote_spanned!(self.ty.span()=> ::core::clone::Clone::clone);
                quote!(#clone(&#name))
            }
            false => quote!(#name),
        }
    }

    /// The names in its pattern, for an option that mentions them.
    fn destructured(&self) -> TokenStream {
        let (name, pattern) = (&self.name, &self.pattern);
        let value = match self.is_borrowed() {
            true => quote!(#name),
            false => quote!(::core::clone::Clone::clone(&#name)),
        };
        quote!(#[allow(unused_variables, unused_mut)] let #pattern = #value;)
    }
}

/// Asks a question of `probe`, which that many traits answer.
fn ask(traits: usize, value: &TokenStream, question: &str, span: Span) -> TokenStream {
    let traits_in_scope = match question {
        "copy" => quote!(CopyWhole as _, CopyOk as _, CopyNothing as _),
        "failed" => quote!(Failing as _, Unfailing as _),
        "show" => quote!(Shown as _, Hidden as _),
        _ => quote!(BorrowedPart as _, FloatPart as _, OwnedPart as _),
    };
    let method = format_ident!("scrubjay_{question}", span = span);
    let references = std::iter::repeat_n(quote!(&), traits);
    quote_spanned! {span=> {
        #[allow(unused_imports)]
        use ::scrubjay::__private::probe::{#traits_in_scope};
        (#(#references)* ::scrubjay::__private::probe::Probe(#value)).#method()
    }}
}

/// Asks a question about a type, which two traits answer.
fn ask_type(ty: &Type, question: &str, traits_in_scope: &TokenStream) -> TokenStream {
    let method = format_ident!("scrubjay_{question}", span = ty.span());
    quote_spanned! {ty.span()=> {
        #[allow(unused_imports)]
        use ::scrubjay::__private::probe::{#traits_in_scope};
        (&&::scrubjay::__private::probe::TypeOf::<#ty>(::core::marker::PhantomData)).#method()
    }}
}

/// Gives `self` another name, but not the `self` of items in the body.
struct RenameSelf;

impl VisitMut for RenameSelf {
    fn visit_expr_path_mut(&mut self, path: &mut syn::ExprPath) {
        if path.path.is_ident("self") {
            let mut name = own_self();
            name.set_span(own_self().span().located_at(path.span()));
            path.path = name.into();
        }
        visit_mut::visit_expr_path_mut(self, path);
    }

    fn visit_macro_mut(&mut self, call: &mut syn::Macro) {
        call.tokens = rename_self(call.tokens.clone());
    }

    fn visit_item_mut(&mut self, _: &mut syn::Item) {}
}

/// The same for tokens that are not parsed. In a path, `self` is a module and stays.
fn rename_self(tokens: TokenStream) -> TokenStream {
    let mut tokens = tokens.into_iter().peekable();
    let mut renamed = TokenStream::new();
    while let Some(token) = tokens.next() {
        let in_path =
            matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == ':');
        renamed.extend([match token {
            TokenTree::Ident(ident) if ident == "self" && !in_path => own_self().into(),
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), rename_self(group.stream()));
                inner.set_span(group.span());
                inner.into()
            }
            other => other,
        }]);
    }
    renamed
}
