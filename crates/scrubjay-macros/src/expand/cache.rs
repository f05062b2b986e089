//! The cache of a memoized function: where it is, and how it is built.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, Index};

use super::{Expansion, ask, ask_type, hidden};
use crate::function::Place;
use crate::options::Time;

impl Expansion<'_> {
    /// How the wrapper comes to its cache.
    pub(super) fn cache(&self) -> TokenStream {
        let found = match self.function.place {
            Place::Free => {
                let handle = self.handle_type();
                quote!(#handle::cache())
            }
            Place::Impl => {
                let (function, args) = (self.cache_function_name(), self.turbofish());
                quote!(Self::#function #args())
            }
            Place::Trait => {
                let stored = self.stored();
                quote!({ #stored })
            }
        };
        match self.options.local {
            Some(_) => quote!(&#found),
            None => found,
        }
    }

    /// The body of the function that returns the cache: the place of the cache, and a look at it.
    pub(super) fn stored(&self) -> TokenStream {
        let build = self.build();
        let instance = quote!(::scrubjay::__private::instance_of(&|| ()));
        if self.options.local.is_some() {
            return quote! {
                ::std::thread_local! {
                    static INSTANCES: ::scrubjay::__private::LocalInstances =
                        const { ::scrubjay::__private::LocalInstances::new() };
                }
                ::scrubjay::__private::on_this_thread(&INSTANCES, #instance, || #build)
            };
        }
        match self.key_type() {
            Some(key) if self.has_one_instance() => {
                let output = &self.function.output;
                quote! {
                    static PLACE: ::scrubjay::__private::Place<#key, #output> =
                        ::scrubjay::__private::Place::new();
                    ::scrubjay::__private::in_place(&PLACE, || #build)
                }
            }
            _ => quote! {
                static INSTANCES: ::scrubjay::__private::Instances =
                    ::scrubjay::__private::Instances::new();
                INSTANCES.get(#instance, || #build)
            },
        }
    }

    fn has_one_instance(&self) -> bool {
        self.function.place == Place::Free && self.type_params().is_empty()
    }

    /// Builds the cache with all its options.
    fn build(&self) -> TokenStream {
        let output = &self.function.output;
        let builder = hidden("__builder");
        let (name, witness) = (self.cache_name(), self.key_witness());
        let (checks, options, describe) = (self.checks(), self.builder_options(), self.describe());
        let function = self.function.name();
        let mut cache = quote!(::scrubjay::__private::build(#builder, #function));
        if self.refreshes_in_background() {
            cache = self.refreshing(&cache);
        }
        quote! {{
            #checks
            let #builder = ::scrubjay::__private::builder(
                #name,
                #witness,
                ::core::marker::PhantomData::<#output>,
            );
            let #builder = #builder.describe_keys(#describe);
            #(let #builder = #options;)*
            #cache
        }}
    }

    fn cache_name(&self) -> TokenStream {
        let name = self.shown_name();
        if self.function.place == Place::Free || self.options.name.is_some() {
            quote!(::std::string::String::from(#name))
        } else {
            quote!(::scrubjay::__private::method_name::<Self>(#name))
        }
    }

    /// What only the compiler can check about the return type.
    fn checks(&self) -> TokenStream {
        let output = &self.function.output;
        // Of a type parameter, the compiler's own words are better.
        let is_shared = self.options.local.is_none() && self.has_one_instance();
        let share = is_shared.then(|| {
            let share = ask_type(output, "share", &quote!(Sharable as _, Unsharable as _));
            quote!(#share;)
        });
        let check = |is_given: bool, check: TokenStream| {
            is_given.then(|| {
                quote_spanned!(output.span()=> ::scrubjay::__private::probe::#check::<#output>();)
            })
        };
        let errors = check(self.options.errors.is_some(), quote!(remembers_errors));
        let none = check(self.options.none.is_some(), quote!(remembers_none));
        quote!(#share #errors #none)
    }

    /// Each option as a builder made of a builder.
    fn builder_options(&self) -> Vec<TokenStream> {
        let options = self.options;
        let builder = hidden("__builder");
        let times = [
            (quote!(time_to_live), &options.ttl),
            (quote!(time_to_idle), &options.idle),
            (quote!(refresh_after), &options.refresh),
            (quote!(stale_while_refresh), &options.stale_while_refresh),
            (quote!(stale_if_error), &options.stale_if_error),
            (quote!(error_time_to_live), &options.errors),
            (quote!(error_time_to_live), &options.none),
            (quote!(load_timeout), &options.timeout),
        ];
        let mut set: Vec<TokenStream> = (times.into_iter())
            .filter_map(|(method, time)| Some((method, time_value(time.as_ref()?))))
            .map(|(method, time)| quote!(#builder.#method(#time)))
            .collect();
        let values = [
            (quote!(capacity), &options.capacity),
            (quote!(jitter), &options.jitter),
            (quote!(share_errors), &options.share_errors),
            (quote!(clock), &options.clock),
        ];
        set.extend(values.into_iter().filter_map(|(method, value)| {
            let value = value.as_ref()?;
            Some(quote_spanned!(value.span()=> #builder.#method(#value)))
        }));
        set.extend(options.policy.as_ref().map(|policy| {
            let policy = policy_value(policy);
            quote!(#builder.policy(#policy))
        }));
        set.extend(self.closures());
        set.extend(self.disk());
        set
    }

    /// The folder below memory, whose entries in it are this function's, and how they are encoded.
    fn disk(&self) -> Option<TokenStream> {
        let disk = self.options.disk.as_ref()?;
        let (builder, name) = (hidden("__builder"), self.function.name());
        let code = match (&self.options.version, &self.options.code) {
            (Some(version), _) => quote!(::std::format!("version {}", #version)),
            (None, Some(_)) => quote!(::std::string::String::new()),
            (None, None) => {
                let code = digest_of(&self.function.item.to_token_stream().to_string());
                quote!(::std::string::String::from(#code))
            }
        };
        // Where the path of a closure in the cache's function differs from that of the function itself.
        let (companion, name) = match self.function.place {
            Place::Free => ("::cache".to_owned(), String::new()),
            Place::Impl => (
                format!("::{}", self.cache_function_name()),
                format!("::{name}"),
            ),
            Place::Trait => (String::new(), String::new()),
        };
        let one = self.function.keyed().map(|arg| arg.ty.span()).next();
        let key_span = one.filter(|_| self.arity() == 1 && self.options.key.is_none());
        let [keys, values, identity] = ["__keys", "__values", "__identity"].map(hidden);
        let key_encoding = encoding("key_of", key_span.unwrap_or(disk.span()));
        let value_encoding = encoding("value_of", self.function.output.span());
        Some(quote_spanned! {disk.span()=> {
            let (#keys, #values) = (#key_encoding, #value_encoding);
            let #identity =
                ::scrubjay::__private::disk::Identity::of(&|| (), #companion, #name, #code);
            ::scrubjay::__private::disk::below(#builder, #disk, #identity, #keys, #values)
        }})
    }

    /// The options that look at keys and values.
    fn closures(&self) -> impl Iterator<Item = TokenStream> {
        let builder = hidden("__builder");
        let view = ask_type(
            &self.function.output,
            "view",
            &quote!(Wrapped as _, Bare as _),
        );
        let closures = [
            (quote!(weigh), &self.options.weigh),
            (quote!(store_if), &self.options.store_if),
            (quote!(on_removal), &self.options.on_removal),
        ];
        closures.into_iter().filter_map(move |(function, closure)| {
            let closure = closure.as_ref()?;
            Some(quote_spanned! {closure.span()=>
                ::scrubjay::__private::#function(#builder, #view, #closure)
            })
        })
    }

    /// Shows a key as the arguments between the parentheses of a call.
    fn describe(&self) -> TokenStream {
        let key = hidden("__key");
        let show = |part: TokenStream| ask(2, &part, "show", proc_macro2::Span::mixed_site());
        let parts: Vec<TokenStream> = match self.arity() {
            0 => return quote!(|_| ::std::string::String::new()),
            1 => vec![show(quote!(#key))],
            several => (0..several)
                .map(Index::from)
                .map(|index| show(quote!(&#key.#index)))
                .collect(),
        };
        quote!(|#key| ::scrubjay::__private::labels([#(#parts),*]))
    }

    /// The cache, given a loader for refreshes that takes the arguments from the key.
    fn refreshing(&self, cache: &TokenStream) -> TokenStream {
        let [key, load] = ["__key", "__load"].map(hidden);
        let handle = self.handle_type();
        let (site, key_type) = (self.site(), self.key_type());
        let args: Vec<_> = self.function.args.iter().collect();
        let lets = args.iter().enumerate().map(|(index, arg)| {
            let index = Index::from(index);
            let part = if args.len() == 1 {
                quote!(#key)
            } else {
                quote!((&#key.#index))
            };
            let (name, value) = (&arg.name, arg.rebuilt(&part));
            quote!(let #name = #value;)
        });
        let passed = args.iter().map(|arg| &arg.name);
        let tags = self
            .tag_list()
            .unwrap_or_else(|| quote!(::std::vec::Vec::new()));
        let tags_name = hidden("__tags");
        quote! {
            ::scrubjay::__private::refresh_in_background(#cache, #site, |#key: &#key_type| {
                #(#lets)*
                let #tags_name = #tags;
                (#handle::#load(#(#passed),*), #tags_name)
            })
        }
    }
}

impl crate::function::Arg {
    /// The argument, made of a reference to what is kept of it.
    fn rebuilt(&self, part: &TokenStream) -> TokenStream {
        let target = self.target();
        let owned = match self.is_float() {
            true => quote!(#part.0),
            false => quote!(::core::clone::Clone::clone(#part)),
        };
        let mut references = self.references();
        if references == 0 {
            return owned;
        }
        let mut value = match self.is_float() {
            true => quote!(&#part.0),
            false => quote!(::core::borrow::Borrow::<#target>::borrow(#part)),
        };
        while references > 1 {
            value = quote!(&#value);
            references -= 1;
        }
        value
    }
}

/// How keys or values are encoded, which the compiler finds out.
fn encoding(which: &str, span: Span) -> TokenStream {
    let (builder, which) = (hidden("__builder"), format_ident!("{which}"));
    let encoding = format_ident!("scrubjay_encoding", span = span);
    quote_spanned! {span=> {
        #[allow(unused_imports)]
        use ::scrubjay::__private::disk::{EncodedNothing as _, EncodedOk as _, EncodedWhole as _};
        (&&&::scrubjay::__private::disk::#which(&#builder)).#encoding()
    }}
}

fn time_value(time: &Time) -> TokenStream {
    match time {
        Time::Known(duration, span) => {
            let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
            quote_spanned!(*span=> ::core::time::Duration::new(#seconds, #nanos))
        }
        Time::Computed(expr) => expr.to_token_stream(),
    }
}

/// The policies can be named without their path.
fn policy_value(policy: &Expr) -> TokenStream {
    match policy {
        Expr::Path(path)
            if path.path.get_ident().is_some_and(|name| {
                crate::validate::POLICIES
                    .iter()
                    .any(|policy| name == policy)
            }) =>
        {
            quote!(::scrubjay::Policy::#path)
        }
        _ => policy.to_token_stream(),
    }
}

/// A digest of a function's tokens (FNV-1a, 128 bits; Fowler, Noll and Vo 1991): the same in every compilation of them.
fn digest_of(tokens: &str) -> String {
    let digest = tokens.bytes().fold(
        0x6C62_272E_07BB_0142_62B8_2175_6295_C58D_u128,
        |digest, byte| {
            (digest ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B)
        },
    );
    format!("code {digest:032x}")
}
