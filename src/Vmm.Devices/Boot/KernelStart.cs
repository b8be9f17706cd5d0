using Vmm.Devices.Native;

namespace Vmm.Devices.Kvm;

/// <summary>
/// How the first vCPU starts a kernel that was loaded. An object, because a task of a structure is compiled for that structure.
/// </summary>
/// <param name="Mode">The processor's mode.</param>
/// <param name="Registers">Its registers.</param>
internal sealed record KernelStart(EntryMode Mode, KvmRegs Registers);
