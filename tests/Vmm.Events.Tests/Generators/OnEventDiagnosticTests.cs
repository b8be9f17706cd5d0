using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Vmm.Events.Generators;

namespace Vmm.Events.Tests;

/// <summary>What cannot be a handler is a compile error, and stands where the mistake is.</summary>
public sealed class OnEventDiagnosticTests
{
    private const string Usings = "using Vmm.Events; ";

    [Theory]
    [InlineData("partial class Device { [OnEvent] void Kicked(EventFd fd, string name) { } }", "VMM001", "name")]
    [InlineData("partial class Device { [OnEvent] void Kicked(Reactor owner) { } }", "VMM001", "owner")]
    [InlineData("partial class Device { [OnEvent] void Kicked(ref EventFd fd) { } }", "VMM001", "fd")]
    [InlineData("partial class Device<T> { [OnEvent] void Kicked(T fd) { } }", "VMM001", "fd")]
    [InlineData("partial class Device { [OnEvent] void Kicked(EventFd fd, TimerFd other) { } }", "VMM002", "other")]
    [InlineData("partial class Device { [OnEvent] void Kicked(Readiness a, Readiness b) { } }", "VMM002", "b")]
    public void A_parameter_that_cannot_be_given_is_an_error_at_that_parameter(string source, string rule, string parameter)
    {
        Diagnostic error = Assert.Single(Diagnose(source));
        Assert.Equal(rule, error.Id);
        Assert.Equal(DiagnosticSeverity.Error, error.Severity);
        Assert.Equal(parameter, Place(error, source));
    }

    [Theory]
    [InlineData("class Device { [OnEvent] void Kicked() { } }", "VMM003", "Device")]
    [InlineData("class Outer { partial class Device { [OnEvent] void Kicked() { } } }", "VMM003", "Outer")]
    [InlineData("partial struct Device { [OnEvent] void Kicked() { } }", "VMM003", "Device")]
    [InlineData("partial class Device { [OnEvent] int Kicked() => 1; }", "VMM004", "int")]
    [InlineData("partial class Device { [OnEvent] async void Kicked() => await System.Threading.Tasks.Task.Yield(); }", "VMM004", "Kicked")]
    [InlineData("partial class Device { [OnEvent] void Kicked<T>() { } }", "VMM004", "<T>")]
    [InlineData("partial class Device { [OnEvent] void Kicked() { } [OnEvent] void Kicked(EventFd fd) { } }", "VMM005", "Kicked")]
    public void What_is_no_plain_method_of_a_partial_class_is_an_error_there(string source, string rule, string place)
    {
        Diagnostic error = Assert.Single(Diagnose(source));
        Assert.Equal(rule, error.Id);
        Assert.Equal(place, Place(error, source));
    }

    [Fact]
    public void The_message_says_what_a_handler_may_take()
    {
        Diagnostic error = Assert.Single(Diagnose("partial class Device { [OnEvent] void Kicked(long count) { } }"));
        Assert.Equal(
            "'count' of type 'long' cannot be given to the event handler 'Kicked': it takes any of its own descriptor (OwnedFd or a type derived from it), "
            + "Readiness, Interest and IReactor, by value",
            error.GetMessage(System.Globalization.CultureInfo.InvariantCulture));
    }

    [Theory]
    [InlineData("public partial class Device { [OnEvent] private void Kicked(EventFd fd, IReactor reactor) { } }")]
    [InlineData("namespace A.B { internal partial record Device(int X) { [OnEvent] public void Kicked(Readiness ready) { } } }")]
    [InlineData("partial class Device<T> where T : OwnedFd { [OnEvent] protected void Kicked(T fd) { } }")]
    [InlineData("partial interface IOuter { sealed partial class Device { [OnEvent] void Kicked(Interest interest) { } } }")]
    [InlineData("partial class Device : Subscriber { Device() : base(\"d\") { } [OnEvent] void Kicked(OwnedFd fd) { } }")]
    public void What_is_generated_compiles_for_a_user_of_the_library(string source) => Assert.Empty(Diagnose(source));

    /// <summary>Each subset of the four in each order: 65 signatures.</summary>
    [Fact]
    public void Every_signature_there_is_compiles()
    {
        string[] all = ["EventFd fd", "Readiness ready", "Interest interest", "IReactor reactor"];
        string[] signatures = [.. Arrangements(all).Select(parameters => string.Join(", ", parameters))];
        Assert.Equal(65, signatures.Distinct().Count());
        string handlers = string.Join("\n", signatures.Select((signature, i) => $"[OnEvent] public void Handle{i}({signature}) {{ }}"));
        Assert.Empty(Diagnose($"public partial class Device {{ {handlers} }}"));
    }

    private static IEnumerable<IEnumerable<string>> Arrangements(IEnumerable<string> of) =>
        of.SelectMany(first => Arrangements(of.Where(other => other != first)).Select(rest => rest.Prepend(first))).Prepend([]);

    /// <summary>The errors of the generator and, of what it made, those of the compiler.</summary>
    private static IEnumerable<Diagnostic> Diagnose(string source)
    {
        CSharpCompilation compilation = CSharpCompilation.Create(
            "Users",
            [CSharpSyntaxTree.ParseText(Usings + source, path: "Device.cs", cancellationToken: TestContext.Current.CancellationToken)],
            Platform.Value,
            new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary));
        GeneratorDriver driver = CSharpGeneratorDriver.Create(new OnEventGenerator());
        driver.RunGeneratorsAndUpdateCompilation(
            compilation, out Compilation generated, out System.Collections.Immutable.ImmutableArray<Diagnostic> own,
            TestContext.Current.CancellationToken);
        return own.Concat(generated.GetDiagnostics(TestContext.Current.CancellationToken).Where(each => each.Severity == DiagnosticSeverity.Error));
    }

    /// <summary>The source text that an error points at.</summary>
    private static string Place(Diagnostic error, string source)
    {
        Assert.Equal("Device.cs", error.Location.GetLineSpan().Path);
        return (Usings + source).Substring(error.Location.SourceSpan.Start, error.Location.SourceSpan.Length);
    }

    private static readonly Lazy<IReadOnlyList<MetadataReference>> Platform = new(() =>
    [
        .. ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(':')
            .Where(path => Path.GetFileName(path) is "System.Runtime.dll" or "System.Private.CoreLib.dll" or "System.Threading.dll")
            .Append(typeof(Reactor).Assembly.Location)
            .Select(path => MetadataReference.CreateFromFile(path)),
    ]);
}
