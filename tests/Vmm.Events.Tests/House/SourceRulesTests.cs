using Microsoft.CodeAnalysis.CSharp;
using Vmm.Tests.House;

namespace Vmm.Events.Tests.House;

/// <summary>The rules themselves: what they catch, and what they must let pass.</summary>
public sealed class SourceRulesTests
{
    private const string Usings =
        "using System; using System.Runtime.CompilerServices; using System.Runtime.InteropServices; using System.Buffers;\n";

    [Theory]
    [InlineData("class C { [DllImport(\"libc\")] static extern int getpid(); }", "Native/C.cs", 1)]
    [InlineData("class C { [LibraryImport(\"libc\")] static partial int getpid(); }", "Native/C.cs", 0)]
    [InlineData("class C { [System.Runtime.InteropServices.LibraryImport(\"libc\")] static partial int getpid(); }", "Reactor/C.cs", 1)]
    [InlineData("class C { string S = \"[DllImport]\"; /* [DllImport] */ }", "Reactor/C.cs", 0)]
    public void A_misplaced_import_is_seen(string text, string file, int violations) =>
        Assert.Equal(violations, SourceRules.MisplacedImports(file, Parse(text)).Count());

    [Theory]
    [InlineData("sealed class C { int _x; }", "Native/C.cs", 1)]
    [InlineData("sealed class C { int _x; }", "Sockets/C.cs", 0)]
    [InlineData("static class C { struct S { int X; } enum E { A } }", "Native/C.cs", 0)]
    public void An_object_among_calls_is_seen(string text, string file, int violations) =>
        Assert.Equal(violations, SourceRules.ObjectsAmongCalls(file, Parse(text)).Count());

    [Theory]
    [InlineData("unsafe class C { }", 1)]
    [InlineData("class C { unsafe void M(int* p) { } }", 2)]
    [InlineData("class C { void M() { unsafe { } } }", 1)]
    [InlineData("class C { void M() { unsafe void N() { } N(); } }", 1)]
    [InlineData("class C { unsafe delegate*<int, void> F; }", 2)]
    [InlineData("class C { unsafe void M() { byte* p = stackalloc byte[8]; } }", 2)]
    [InlineData("class C { int M(ref int x) => Unsafe.Add(ref x, 1); }", 1)]
    [InlineData("class C { int M(ref int x) => System.Runtime.CompilerServices.Unsafe.Add(ref x, 1); }", 1)]
    [InlineData("using U = System.Runtime.CompilerServices.Unsafe; class C { int M(ref int x) => U.Add(ref x, 1); }", 1)]
    [InlineData("using static System.Runtime.CompilerServices.Unsafe; class C { int M(ref int x) => Add(ref x, 1); }", 1)]
    [InlineData("class C { System.Func<nint, int> F = Marshal.ReadInt32; }", 1)]
    [InlineData("class C { int M(nint a) => Marshal.ReadInt32(a); }", 1)]
    [InlineData("class C { void M(nint a, byte[] b) => Marshal.Copy(a, b, 0, 1); }", 1)]
    [InlineData("class C { nint M(byte[] b) => Marshal.UnsafeAddrOfPinnedArrayElement(b, 0); }", 1)]
    [InlineData("class C { nint M(object o) => GCHandle.ToIntPtr(GCHandle.Alloc(o)); }", 2)]
    [InlineData("class C { nint M() => NativeLibrary.Load(\"c\"); }", 1)]
    [InlineData("class C { Span<int> M(ref int x) => MemoryMarshal.CreateSpan(ref x, 1); }", 1)]
    [InlineData("class C { Memory<int> M(ReadOnlyMemory<int> x) => MemoryMarshal.AsMemory(x); }", 1)]
    [InlineData("class C { ref int M(Span<int> x) => ref MemoryMarshal.GetReference(x); }", 1)]
    [InlineData("class C { int M() => Unsafe.SizeOf<int>(); string S = \"unsafe\"; /* unsafe */ }", 0)]
    [InlineData("class C { int M() { Span<byte> b = stackalloc byte[8]; return MemoryMarshal.Read<int>(b) + Marshal.GetLastPInvokeError(); } }", 0)]
    public void Misplaced_unsafe_code_is_seen(string text, int violations) =>
        Assert.Equal(violations, UnsafeFence.BreachesIn("Reactor/C.cs", Usings + text, "Native").Count());

    [Fact]
    public void Unsafe_code_in_its_folder_is_no_breach_and_code_that_cannot_be_read_is_one()
    {
        Assert.Empty(UnsafeFence.BreachesIn("Native/C.cs", Usings + "unsafe class C { int* P; }", "Native"));
        Assert.Empty(UnsafeFence.BreachesIn("Reactor/C.cs", Usings + "unsafe class C { int* P; }", "Reactor/C.cs"));
        Assert.Contains("cannot read", Assert.Single(UnsafeFence.BreachesIn("Reactor/C.cs", "class C { int M() => Unknown.Thing(); }", "Native")), StringComparison.Ordinal);
    }

    [Fact]
    public void A_public_address_is_seen()
    {
        Assert.Equal(["Aim.At(address)"], SourceRules.RawAddresses([typeof(Aim)]));
    }

    public sealed class Aim
    {
        public nint Address { get; private set; }

        public void At(nint address) => Address = address;

        public unsafe void At(void* address) => Address = (nint)address;

        internal void Near(nint address) => Address = address;
    }

    [Theory]
    [InlineData("unsafe class C { int M(int* p) => *p; }", 1)]
    [InlineData("unsafe class C { int M(int* p) { return p->X; } int N(int* p) { return *p; } }", 2)]
    [InlineData("unsafe class C { void M() { fixed (int* p = X) { } } }", 1)]
    [InlineData("unsafe class C { /* SAFETY: it is not ours. */ int X; int M(int* p) => *p; }", 1)]
    [InlineData("unsafe class C { int M(int* p) { // SAFETY: it is ours.\n return *p; } }", 0)]
    [InlineData("unsafe class C {\n // SAFETY: it is ours.\n int P => *_p; }", 0)]
    [InlineData("unsafe class C { static partial int M(int* p); int* _p; C(nint a) => _p = (int*)a; }", 0)]
    public void Unsafe_code_without_a_reason_is_seen(string text, int violations) =>
        Assert.Equal(violations, SourceRules.Unexplained("Native/C.cs", Parse(text)).Count());

    [Theory]
    [InlineData("public class C { void M() { using (Process p = Process.Start(\"a\")) p.WaitForExit(); } }", 1)]
    [InlineData("public class C { void M() => System.Diagnostics.Process.Start(\"a\"); }", 1)]
    [InlineData("public class C { void M() => KernelHeaders.Evaluate([], []); } public class D { }", 2)]
    [InlineData("public class C { void M() { using TinyFileSystem disk = new(1); } }", 1)]
    [InlineData("[Trait(\"A\", \"B\"), Collection(Alone.Name)] public class C { void M() => ChildTest.Run<C>(\"a\"); }", 0)]
    [InlineData("internal class C { void M() => Process.Start(\"a\"); }", 0)]
    [InlineData("public class C { void M() => Thread.Start(\"Process.Start(\"); }", 0)]
    public void A_process_beside_other_tests_is_seen(string text, int violations) =>
        Assert.Equal(violations, SourceRules.NotAlone("Handles/C.cs", Parse(text)).Count());

    private static Microsoft.CodeAnalysis.SyntaxNode Parse(string text) =>
        CSharpSyntaxTree.ParseText(text, cancellationToken: TestContext.Current.CancellationToken).GetRoot(TestContext.Current.CancellationToken);
}
