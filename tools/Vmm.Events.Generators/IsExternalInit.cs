namespace System.Runtime.CompilerServices;

/// <summary>What the compiler asks for to set properties at initialization; netstandard2.0 has none.</summary>
internal static class IsExternalInit;
