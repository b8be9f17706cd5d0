using System.Diagnostics;
namespace Vmm.EndToEnd;

/// <summary>The terminal under <c>vmm boot</c>: the guest's, key by key, while it runs, and as it was before on every way out.</summary>
public sealed class BootTerminalTests
{
    // Prints "!" and a line end, raises DTR, waits for a key; what follows is done then.
    private static readonly byte[] WaitForKey =
    [
        0x66, 0xba, 0xf8, 0x03, 0xb0, 0x21, 0xee, 0xb0, 0x0a, 0xee, // mov dx, 0x3f8; mov al, '!'; out dx, al; mov al, '\n'; out dx, al
        0x66, 0xba, 0xfc, 0x03, 0xb0, 0x01, 0xee, // mov dx, 0x3fc; mov al, 1; out dx, al
        0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, // mov dx, 0x3fd; again: in al, dx; test al, 1; jz again
    ];

    [Theory]
    [InlineData("power-off", 0x600, 0x34, 0)]
    [InlineData("panic", 0x505, 0x01, 1)]
    [InlineData("reset", 0x64, 0xfe, 1)]
    public void Is_given_back_when_the_guest_ends(string how, ushort port, byte value, int code)
    {
        // mov dx, port; mov al, value; out dx, al; again: hlt; jmp again
        byte[] end = [0x66, 0xba, (byte)port, (byte)(port >> 8), 0xb0, value, 0xee, 0xf4, 0xeb, 0xfd];
        Assert.Equal(code, RunUntil(how, end, vmm => vmm.Input.Write('q')));
    }

    [Fact]
    // ud2, with nobody to take the exception.
    public void Is_given_back_after_a_triple_fault() => Assert.Equal(1, RunUntil("triple fault", [0x0f, 0x0b], vmm => vmm.Input.Write('q')));

    [Fact]
    public void Is_given_back_after_the_keys_that_leave() => Assert.Equal(1, RunUntil("keys", [], vmm => vmm.Input.Write("\u0001x")));

    [Theory]
    [InlineData("TERM", 1)]
    [InlineData("HUP", 1)]
    [InlineData("INT", 1)]
    [InlineData("QUIT", 1)]
    public void Is_given_back_after_a_signal(string signal, int code) => Assert.Equal(code, RunUntil(signal, [], vmm => Signal(vmm, signal)));

    [Fact]
    public void Is_given_back_when_the_machine_cannot_be_made()
    {
        Assert.SkipUnless(File.Exists("/dev/kvm") && Environment.IsPrivilegedProcess, "needs /dev/kvm");
        using ScratchDirectory scratch = new();
        File.WriteAllText(scratch.PathOf("kernel"), "no kernel at all, whatever its name says");
        using VmmProcess vmm = Start(scratch.PathOf("kernel"));
        VmmResult result = vmm.WaitForExit();
        Assert.Contains("is no Linux kernel", result.Output);
        AssertGivenBack(result);
    }

    /// <returns>The exit code.</returns>
    private static int RunUntil(string how, byte[] end, Action<VmmProcess> act)
    {
        Assert.SkipUnless(File.Exists("/dev/kvm") && Environment.IsPrivilegedProcess, "needs /dev/kvm");
        using ScratchDirectory scratch = new();
        TinyKernel.Write(scratch.PathOf("kernel"), [.. WaitForKey, .. end]);
        using VmmProcess vmm = Start(scratch.PathOf("kernel"));
        vmm.WaitFor("!");
        string during = Stty("-F", vmm.Lines.First(line => line.StartsWith("/dev/pts/", StringComparison.Ordinal)).Trim(), "-a");
        Assert.Contains("-icanon", during);
        Assert.Contains("-echo ", during);
        act(vmm);
        vmm.Input.Flush();
        VmmResult result = vmm.WaitForExit();
        AssertGivenBack(result);
        Assert.Contains(result.Lines, line => line.StartsWith("code ", StringComparison.Ordinal));
        return int.Parse(result.Lines.Last(line => line.StartsWith("code ", StringComparison.Ordinal))["code ".Length..]);
    }

    /// <summary>The terminal says its name and its mode before, and its mode and the exit code after.</summary>
    private static VmmProcess Start(string kernel) => VmmProcess.UnderTerminal(
        "trap 'code=$?; echo; echo mode $(stty -g); echo code $code' EXIT; tty; echo mode $(stty -g); env --default-signal sh -c 'echo pid $$; exec \"$@\"' sh",
        "boot", "--kernel", kernel);

    private static void AssertGivenBack(VmmResult result)
    {
        string[] modes = [.. result.Lines.Where(line => line.StartsWith("mode ", StringComparison.Ordinal))];
        Assert.Equal(2, modes.Length);
        Assert.Equal(modes[0], modes[1]);
    }

    private static void Signal(VmmProcess vmm, string name)
    {
        string id = vmm.Lines.First(line => line.StartsWith("pid ", StringComparison.Ordinal)).Trim()["pid ".Length..];
        using Process kill = Process.Start("kill", [$"-{name}", id]);
        kill.WaitForExit();
    }

    private static string Stty(params string[] arguments)
    {
        using Process stty = Process.Start(new ProcessStartInfo("stty", arguments) { RedirectStandardOutput = true })!;
        string said = stty.StandardOutput.ReadToEnd();
        stty.WaitForExit();
        return said;
    }
}
