using System.Text;
using Microsoft.Win32.SafeHandles;
using Vmm.Devices;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>The process's own input and output, for readers and writers that close what they get.</summary>
internal static class StandardStreams
{
    internal const int Input = 0;

    internal const int Output = 1;

    private const int Error = 2;

    /// <summary>What the runtime and a machine of a few devices have open; with less the runtime itself crashes.</summary>
    private const ulong DescriptorsMin = 128;

    /// <summary>
    /// Before anything is opened: closed input is an end of file, messages without a place are dropped, and output without a place is
    /// refused.
    /// </summary>
    /// <exception cref="IOException">Standard output is closed.</exception>
    internal static void Check()
    {
        if (!ProcessDescriptors.IsInherited(Error)) Console.SetError(TextWriter.Null);
        if (!ProcessDescriptors.IsInherited(Output))
            throw new IOException("standard output is closed: give it a place, such as >/dev/null");
    }

    /// <summary>Whether this process may open as many files as it needs; says so if not.</summary>
    internal static bool HaveRoom()
    {
        if (ProcessDescriptors.Limit >= DescriptorsMin) return true;
        // Not by the console: with so few files the runtime can't load it.
        using ISerialOutput error = SerialOutput.To(DuplicateOf(Error));
        string sentence =
            $"vmm: this process may open {ProcessDescriptors.Limit} files: raise the limit, to 1024 for example (ulimit -n 1024)\n";
        error.Write(Encoding.UTF8.GetBytes(sentence), out _);
        return false;
    }

    /// <summary>Whether standard input is closed, or <c>/dev/null</c>: it never has anything.</summary>
    internal static bool IsInputEmpty =>
        !ProcessDescriptors.IsInherited(Input) || new FileInfo("/proc/self/fd/0").LinkTarget == "/dev/null";

    internal static OwnedFd DuplicateInput() => ProcessDescriptors.IsInherited(Input) ? DuplicateOf(Input) : EndOfFile();

    internal static OwnedFd DuplicateOutput() => DuplicateOf(Output);

    private static OwnedFd EndOfFile()
    {
        using SafeFileHandle nothing = File.OpenHandle("/dev/null");
        return DuplicateOf((int)nothing.DangerousGetHandle());
    }

    internal static OwnedFd DuplicateOf(int standard)
    {
        OwnedFd borrowed = new(standard);
        try
        {
            return borrowed.Duplicate();
        }
        finally
        {
            // The process's own, which it goes on to use.
            borrowed.SetHandleAsInvalid();
        }
    }
}
