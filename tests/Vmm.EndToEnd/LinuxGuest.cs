using System.Diagnostics;

namespace Vmm.EndToEnd;

/// <summary>
/// A Linux guest in a process of its own, whose devices are behind our sockets: under QEMU (<see cref="QemuGuest"/>) or as User Mode Linux
/// (<see cref="UmlGuest"/>). Both have the user space that tools/guest/build.sh makes, and run the scripts of tools/guest/tests.
/// </summary>
internal abstract class LinuxGuest : IDisposable
{
    private static readonly Lazy<string> Image = new(Build);

    private readonly string _program;
    private readonly PipedProcess _process;

    /// <param name="program">What runs the guest.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <param name="onPrinted">Gets each line that the guest prints, at once.</param>
    /// <param name="environment">What its environment has beside that of the tests.</param>
    private protected LinuxGuest(
        string program, IEnumerable<string> arguments, Action<string>? onPrinted = null, params (string Name, string Value)[] environment)
    {
        _program = program;
        _process = new PipedProcess([program, .. arguments], line => onPrinted?.Invoke(line.Trim()), environment);
    }

    internal bool HasEnded => _process.HasEnded;

    /// <summary>What the guest printed so far, line by line.</summary>
    internal string[] Console => [.. _process.Lines.Select(line => line.Trim())];

    /// <summary>Types a line on the guest's console.</summary>
    internal void Say(string line)
    {
        _process.Input.Write($"{line}\n");
        _process.Input.Flush();
    }

    /// <summary>Waits until the guest has printed a line.</summary>
    internal void WaitFor(string line) => WaitUntilPrinted(line, printed => printed == line);

    /// <summary>Waits until the guest has printed a line that begins like this.</summary>
    internal void WaitForLine(string start) => WaitUntilPrinted($"{start}…", printed => printed.StartsWith(start, StringComparison.Ordinal));

    /// <summary>Waits until the guest powered off.</summary>
    /// <returns>What it printed on its console, line by line.</returns>
    internal string[] WaitForPowerOff()
    {
        bool ended = _process.WaitForExit();
        if (!ended) _process.Kill();
        string what = ended ? $"{_program} ended with {_process.ExitCode}" : $"the guest did not power off within {PipedProcess.Watchdog}";
        string printed = string.Join('\n', Console);
        // User Mode Linux sometimes aborts (134) in its own exit, after its kernel has halted: that is no fault of the guest's run.
        // What it prints behind that may be its own last words, or a part of them.
        bool hasHalted = Console.Any(line => line.EndsWith("reboot: System halted", StringComparison.Ordinal));
        bool isOff = ended && (_process.ExitCode == 0 || (_process.ExitCode == 134 && hasHalted));
        Assert.True(isOff, $"{what}.\nconsole: {printed}\nstderr: {_process.Error}");
        return Console;
    }

    /// <summary>Ends the guest at once, as a power cut does.</summary>
    internal void Kill() => _process.Kill();

    public virtual void Dispose() => _process.Dispose();

    /// <summary>A file that tools/guest/build.sh makes; built with the first guest that needs it.</summary>
    private protected static string ImageFile(string name) => Path.Combine(Image.Value, name);

    private void WaitUntilPrinted(string what, Func<string, bool> isIt)
    {
        bool isPrinted = _process.WaitUntil(() => Console.Any(isIt));
        string state = HasEnded ? $"ended with {_process.ExitCode}, stderr: {_process.Error}" : "runs still";
        Assert.True(isPrinted, $"the guest never printed '{what}' ({_program} {state}).\nconsole: {string.Join('\n', Console)}");
    }

    private static string Build()
    {
        string output = Repository.PathOf("artifacts/guest");
        ProcessStartInfo start = new(Repository.PathOf("tools/guest/build.sh"), [output]) { RedirectStandardError = true };
        using Process build = Process.Start(start)!;
        string error = build.StandardError.ReadToEnd();
        build.WaitForExit();
        Assert.True(build.ExitCode == 0, $"tools/guest/build.sh failed: {error}");
        return output;
    }
}
