using System.Runtime.CompilerServices;
using Vmm.Devices.Kvm;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>
/// A test that needs KVM. Without /dev/kvm it is skipped here, and runs in a guest that has it:
/// <c>tests/Vmm.EndToEnd/NestedKvmTests.cs</c>.
/// </summary>
public sealed class KvmFactAttribute : FactAttribute
{
    public KvmFactAttribute([CallerFilePath] string? file = null, [CallerLineNumber] int line = -1) : base(file, line)
    {
        Skip = KvmIsHere.Reason;
        SkipType = typeof(KvmIsHere);
        SkipUnless = nameof(KvmIsHere.Value);
    }
}

/// <summary>As <see cref="KvmFactAttribute"/>, for a test with data.</summary>
public sealed class KvmTheoryAttribute : TheoryAttribute
{
    public KvmTheoryAttribute([CallerFilePath] string? file = null, [CallerLineNumber] int line = -1) : base(file, line)
    {
        Skip = KvmIsHere.Reason;
        SkipType = typeof(KvmIsHere);
        SkipUnless = nameof(KvmIsHere.Value);
    }
}

/// <summary>Whether this machine has KVM's device file.</summary>
public static class KvmIsHere
{
    public const string Reason = "needs /dev/kvm; ./tools/test.sh --long runs it in a nested guest";

    public static bool Value => File.Exists(KvmSystem.DefaultPath);
}
